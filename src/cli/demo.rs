//! `agent-portail demo`: a folder, an S3 API and a PostgreSQL on this machine, with nothing to configure: one pass, and then
//! the daemon.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::{DemoArgs, Exit, SyncArgs, output, sync};
use crate::config::settings::UrlsAuth;
use crate::config::{ConfigFile, Effective, Sources, load};
use crate::daemon;
use crate::demo::postgres::Cluster;
use crate::demo::s3::EmbeddedS3;
use crate::model::ShownPath;
use crate::urls::run::Service;

/// Of the database and the bucket.
const NAME: &str = "agent-portail-demo";

/// Runs a pass against throw-away servers, shows what is where, and removes everything at the end.
///
/// # Errors
/// If a server can't be started, or the folder can't be used.
pub async fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    let home = tempfile::Builder::new().prefix("agent-portail-demo-").tempdir().context("make a temporary folder")?;
    let folder = match &args.dir {
        Some(dir) => dir.canonicalize().with_context(|| format!("open the folder {}", ShownPath(dir)))?,
        None => sample(&home.path().join("documents")).context("write the sample folder")?,
    };
    output::print(format_args!("Starting a throw-away PostgreSQL and an S3 server…\n"))?;
    let cluster = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::start()?;
        cluster.create_database(NAME)?;
        Ok::<_, crate::demo::postgres::ClusterError>(cluster)
    })
    .await??;
    let objects = home.path().join("s3");
    fs::create_dir(&objects).context("make the folder of the S3 server")?;
    let s3 = EmbeddedS3::start(&objects, 0).await?;
    s3.create_bucket(NAME).await?;

    let effective = configuration(home.path(), &folder, &cluster, &s3)?;
    output::print(format_args!("Syncing {}…\n\n", ShownPath(&folder)))?;
    let pass = SyncArgs { dry_run: false, json: false, folders: Vec::new(), wait: false };
    let exit = sync::run(&effective.settings, pass).await?;
    output::print(format_args!("{}", rows(&cluster)))?;
    if !args.once && exit != Exit::Interrupted {
        let links = Service::open(&effective.settings).await?;
        let page = links.address().map(|address| format!("http://{address}/")).unwrap_or_default();
        output::print(format_args!("{}", tour(&folder, &cluster, &s3, &page)))?;
        output::print(format_args!(
            "\nNow it watches: save, rename and delete files there, and see each change here.\n\
             Press Ctrl-C to stop; everything but your folder is removed then.\n\n"
        ))?;
        let (again, cancel) = (effective.clone(), CancellationToken::new());
        let links = tokio::spawn(links.serve(cancel.clone()));
        let ended = daemon::run::run(effective, Box::new(move || Ok(again.clone())), cancel.clone()).await;
        cancel.cancel();
        links.await?;
        ended?;
    }
    s3.shutdown().await;
    tokio::task::spawn_blocking(move || drop(cluster)).await?;
    Ok(exit)
}

/// The defaults, for this folder and these servers. Nothing of the caller's environment takes part.
fn configuration(home: &Path, folder: &Path, cluster: &Cluster, s3: &EmbeddedS3) -> anyhow::Result<Effective> {
    let environment: [(&str, OsString); 3] =
        [("SYNC_PATH", folder.into()), ("AWS_BUCKET_NAME", NAME.into()), ("AGENT_PORTAIL__AGENT__NAME", "demo".into())];
    let environment = environment.into_iter().map(|(name, value)| (OsString::from(name), value));
    let mut sources = Sources::capture(None, Vec::new(), environment);
    // A file that is not there is fine when nobody has named it; this one is not, and the machine's own does not take part.
    sources.config = ConfigFile::Default(home.join("config.toml"));
    let mut effective = load(&sources)?;
    let settings = &mut effective.settings;
    settings.database = cluster.settings(NAME);
    settings.s3 = s3.settings();
    // Whatever port is free: a real agent may have the usual one.
    settings.monitor.listen = (Ipv4Addr::LOCALHOST, 0).into();
    settings.urls.listen = (Ipv4Addr::LOCALHOST, 0).into();
    settings.urls.monitor_listen = (Ipv4Addr::LOCALHOST, 0).into();
    // For whoever sits at this machine, and has started it.
    settings.urls.auth = UrlsAuth::Open;
    Ok(effective)
}

/// The first rows of the catalog.
fn rows(cluster: &Cluster) -> String {
    let rows = cluster
        .run_sql(NAME, "SELECT format('  %-9s %9s  %s', state, size, path) FROM portail.file ORDER BY path LIMIT 12")
        .unwrap_or_else(|error| error.to_string());
    let count = cluster.run_sql(NAME, "SELECT count(*) FROM portail.file").unwrap_or_default();
    format!("\nThe catalog has {count} rows, portail.file:\n{rows}\n")
}

/// What is where, and how to look.
fn tour(folder: &Path, cluster: &Cluster, s3: &EmbeddedS3, page: &str) -> String {
    let keys = s3.credentials();
    format!(
        "
Look for yourself, from another terminal:
  the folder  {folder}
  links to it {page}   (and {page}api/v1/files, as docs/HTTP_API.md has it)
  the catalog PGPASSWORD={password} psql -h 127.0.0.1 -p {port} -U postgres -d {NAME} -c 'TABLE portail.file'
  the bucket  AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION={region} \\
                aws --endpoint-url {endpoint} s3 ls --recursive s3://{NAME}/
",
        folder = ShownPath(folder),
        password = cluster.password(),
        port = cluster.port(),
        id = keys.access_key_id,
        // Made for this demo, good for this server only, and gone with it.
        secret = keys.secret_access_key.expose_secret(),
        region = s3.region(),
        endpoint = s3.endpoint(),
    )
}

/// A small folder with what folders have: depth, names from other languages, an empty file, something to skip.
fn sample(folder: &Path) -> std::io::Result<PathBuf> {
    let files: [(&str, &str); 7] = [
        ("welcome.txt", "This folder is mirrored to S3 and recorded in PostgreSQL.\n"),
        ("contracts/2026/lease.txt", "Signed by both parties.\n"),
        ("contracts/2026/annex-b.txt", "See the lease.\n"),
        ("factures/numéro 17.csv", "date,montant\n2026-11-24,17.00\n"),
        ("photos/readme-写真.md", "# 写真\n"),
        ("empty.log", ""),
        ("scratch/notes.tmp", "The rules in .portailignore exclude this one.\n"),
    ];
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, content)?;
    }
    fs::write(folder.join(".portailignore"), "*.tmp\n")?;
    fs::write(folder.join("photos/large.bin"), vec![0x5a; 20 << 20])?;
    std::os::unix::fs::symlink("welcome.txt", folder.join("link-to-welcome"))?;
    folder.canonicalize()
}
