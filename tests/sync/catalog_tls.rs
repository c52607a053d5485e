//! Connections to PostgreSQL: encrypted and not, refused and broken.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_portail::catalog::{Catalog, CatalogError, schema};
use agent_portail::config::settings::{DatabaseSettings, Tls};
use agent_portail::demo::postgres::Cluster;
use agent_portail::model::Retry;

use crate::common::pg::cluster;

/// An error with all its causes, as it is printed.
fn chain(error: &CatalogError) -> String {
    agent_portail::sync::act::chain(error)
}

fn open(settings: &DatabaseSettings, tls: Tls) -> Catalog {
    Catalog::open(&DatabaseSettings { tls, ..settings.clone() }, "test").unwrap()
}

fn openssl(directory: &Path, args: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(args.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A CA, and a certificate for `localhost` that it has signed.
fn certificates(directory: &Path) {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for ca in ["ca", "other"] {
        openssl(directory, &format!("{new} -x509 -days 2 -subj /CN={ca} -keyout {ca}.key -out {ca}.crt"));
    }
    openssl(directory, &format!("{new} -subj /CN=localhost -keyout server.key -out server.csr"));
    std::fs::write(directory.join("names"), "subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n").unwrap();
    openssl(
        directory,
        "x509 -req -days 2 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out server.crt",
    );
}

/// A cluster that offers encryption.
fn encrypted(directory: &Path) -> Cluster {
    certificates(directory);
    let mut cluster = Cluster::start().unwrap();
    cluster.stop();
    let owner = std::fs::metadata(cluster.data()).unwrap();
    for name in ["server.key", "server.crt"] {
        let target = cluster.data().join(name);
        std::fs::copy(directory.join(name), &target).unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&target, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let settings = cluster.data().join("postgresql.auto.conf");
    std::fs::write(settings, "ssl = on\n").unwrap();
    cluster.resume().unwrap();
    cluster
}

#[tokio::test]
async fn each_tls_mode_checks_what_it_promises() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { home.path().join(name) };
    let directory = home.path().to_owned();
    let mut cluster = tokio::task::spawn_blocking(move || encrypted(&directory)).await.unwrap();
    let settings = DatabaseSettings { host: "localhost".to_owned(), ..cluster.settings("postgres") };
    let verify = |ca: &str| Tls::VerifyFull { ca_file: Some(file(ca)) };
    let encrypted = "SELECT bool_and(s.ssl)::text FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'test'";
    for (tls, expected) in
        [(Tls::Disable, "false"), (Tls::Prefer, "true"), (Tls::Require, "true"), (verify("ca.crt"), "true")]
    {
        let catalog = open(&settings, tls.clone());
        catalog.ping().await.unwrap();
        assert_eq!(cluster.run_sql("postgres", encrypted).unwrap(), expected, "{tls:?}");
        drop(catalog);
        let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'";
        crate::common::agent::until("it has let go", async || cluster.run_sql("postgres", gone).unwrap() == "0").await;
    }
    let error = open(&settings, verify("other.crt")).ping().await.unwrap_err();
    assert!(chain(&error).contains("UnknownIssuer"), "{}", chain(&error));
    let error = open(&settings, Tls::VerifyFull { ca_file: None }).ping().await.unwrap_err();
    assert!(chain(&error).contains("UnknownIssuer"), "{}", chain(&error));
    let by_address = DatabaseSettings { host: "127.0.0.1".to_owned(), ..settings.clone() };
    let error = open(&by_address, verify("ca.crt")).ping().await.unwrap_err();
    assert!(chain(&error).contains("not valid for name"), "{}", chain(&error));
    assert_eq!(error.retry(), Retry::Fatal);
    for (name, words) in [("missing.crt", "missing.crt"), ("names", "no certificate in PEM form")] {
        let settings = DatabaseSettings { tls: verify(name), ..settings.clone() };
        let error = Catalog::open(&settings, "test").unwrap_err();
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }
    cluster.stop();
}

#[tokio::test]
async fn without_encryption_on_the_server_prefer_works_and_the_rest_is_refused() {
    let settings = cluster().settings("postgres");
    for tls in [Tls::Disable, Tls::Prefer] {
        open(&settings, tls).ping().await.unwrap();
    }
    for tls in [Tls::Require, Tls::VerifyFull { ca_file: None }] {
        let error = open(&settings, tls).ping().await.unwrap_err();
        assert!(chain(&error).contains("server does not support TLS"), "{}", chain(&error));
    }
    let by_socket = DatabaseSettings { host: cluster().socket().to_str().unwrap().to_owned(), ..settings };
    open(&by_socket, Tls::Prefer).ping().await.unwrap();
}

#[tokio::test]
async fn the_pool_recovers_when_the_server_is_back() {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let catalog = open(&cluster.settings("postgres"), Tls::Prefer);
    schema::migrate(&catalog).await.unwrap();
    for crash in [false, true] {
        if crash {
            cluster.kill()
        } else {
            cluster.stop()
        }
        for _ in 0..3 {
            let error = catalog.ping().await.unwrap_err();
            assert_eq!(error.retry(), Retry::Fatal);
            assert!(error.to_string().contains("check that PostgreSQL runs there"), "{error}");
        }
        cluster.resume().unwrap();
        catalog.ping().await.unwrap();
        schema::state(&catalog).await.unwrap();
    }
}

#[tokio::test]
async fn the_password_is_in_no_debug_output_and_no_error() {
    let settings = cluster().settings("postgres");
    let password = cluster().password();
    let mut said = format!("{settings:?} {:?}", open(&settings, Tls::Prefer));
    let wrong_name = DatabaseSettings { name: "not-there".to_owned(), ..settings.clone() };
    let wrong_port = DatabaseSettings { port: 1, ..settings.clone() };
    let wrong_user = DatabaseSettings { user: "nobody-here".to_owned(), ..settings.clone() };
    for settings in [wrong_name, wrong_port, wrong_user] {
        let error = open(&settings, Tls::Prefer).ping().await.unwrap_err();
        said.push_str(&format!("{error:?} {}", chain(&error)));
    }
    assert!(!said.contains(password), "{said}");
}
