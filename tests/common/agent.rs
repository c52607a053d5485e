//! The built program on a folder of its own, with a bucket and a database.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_portail::model::{RelPath, Stamp};
use md5::{Digest as _, Md5};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::pg::Database;
use super::s3::TestS3;

/// Far longer than any pass here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One agent: its folder, its configuration, and what it writes to.
pub struct Agent {
    /// In the catalog.
    pub name: String,
    pub s3: Arc<TestS3>,
    pub db: Arc<Database>,
    pub bucket: String,
    /// Of the folder.
    pub prefix: String,
    /// The folder, called `files`.
    pub root: PathBuf,
    /// TOML lines of the folder.
    pub folder: String,
    /// TOML lines of `[sync]`.
    pub sync: String,
    /// TOML at the end.
    pub more: String,
    /// Over what the store's own environment says.
    pub env: HashMap<&'static str, String>,
    /// In place of the database's own lines.
    pub database: Option<String>,
    /// Runs without root's right to read everything.
    pub restricted: bool,
    pub home: TempDir,
}

/// How a command has ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Of standard output; null if it is not JSON.
    pub json: Value,
    pub took: Duration,
}

impl Agent {
    /// With an empty folder, bucket and database.
    pub async fn start() -> Self {
        let (s3, db) = (Arc::new(TestS3::start().await), Arc::new(Database::new().await));
        let bucket = s3.new_bucket().await;
        Self::on(s3, db, bucket, "agent-1")
    }

    /// Another one on the same bucket and database, with an empty folder.
    pub fn beside(&self, name: &str) -> Self {
        Self::on(Arc::clone(&self.s3), Arc::clone(&self.db), self.bucket.clone(), name)
    }

    fn on(s3: Arc<TestS3>, db: Arc<Database>, bucket: String, name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("files");
        fs::create_dir(&root).unwrap();
        Self {
            name: name.to_owned(),
            s3,
            db,
            bucket,
            prefix: String::new(),
            root,
            folder: String::new(),
            sync: String::new(),
            more: String::new(),
            env: HashMap::new(),
            database: None,
            restricted: false,
            home,
        }
    }

    /// Writes a file of the folder, making its directories.
    pub fn write(&self, path: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
        let path = self.root.join(path.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// As [`Self::write`], with a name that need not be UTF-8.
    pub fn write_raw(&self, path: &[u8], bytes: impl AsRef<[u8]>) {
        self.write(OsStr::from_bytes(path), bytes);
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).unwrap();
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The program, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let config = self.home.path().join("config.toml");
        fs::write(&config, self.config()).unwrap();
        // It holds a password, so the program insists.
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        let program = env!("CARGO_BIN_EXE_agent-portail");
        let mut command = match self.restricted && rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                // Another user could not reach the program everywhere; root without these rights is like another user.
                command.args(["--bounding-set=-dac_override,-dac_read_search", program]);
                command
            }
            false => Command::new(program),
        };
        command.env_clear().envs(self.s3.env()).envs(&self.env).env("PATH", "/usr/bin:/bin").env("USER", "tester");
        command.arg("--config").arg(config).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn config(&self) -> String {
        let settings = self.db.settings();
        let database = self.database.clone().unwrap_or_else(|| {
            format!(
                "host = \"{}\"\nport = {}\nname = \"{}\"\nuser = \"{}\"\npassword = \"{}\"\n",
                settings.host,
                settings.port,
                settings.name,
                settings.user,
                settings.password.as_ref().map(|password| password.expose_secret()).unwrap_or_default()
            )
        });
        let mut toml = format!("[agent]\nname = \"{}\"\n[s3]\nbucket = \"{}\"\n", self.name, self.bucket);
        let _ = write!(toml, "[database]\n{database}[sync]\nworkers = 8\n{}\n", self.sync);
        let _ = write!(toml, "[[folder]]\nname = \"files\"\npath = {:?}\nprefix = \"{}\"\n", self.root, self.prefix);
        let _ = write!(toml, "{}\n{}\n", self.folder, self.more);
        toml
    }

    /// Runs a command to its end.
    pub async fn run(&self, args: &[&str]) -> Outcome {
        finish(self.command(args).spawn().unwrap()).await
    }

    /// `sync --json`.
    pub async fn sync(&self, args: &[&str]) -> Outcome {
        let mut all = vec!["sync", "--json"];
        all.extend(args);
        self.run(&all).await
    }

    /// `restore --json` of the folder to a directory.
    pub async fn restore(&self, to: &Path, args: &[&str]) -> Outcome {
        let mut all = vec!["restore", "--json", "--folder", "files", "--to", to.to_str().unwrap()];
        all.extend(args);
        self.run(&all).await
    }

    /// `verify --json`: the differences as path and kind, in order, and the summary of the folder.
    pub async fn verify(&self, args: &[&str], code: i32) -> (Vec<(String, String)>, Value) {
        let mut all = vec!["verify", "--json"];
        all.extend(args);
        let outcome = self.run(&all).await.expect_code(code);
        let mut lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap()["folders"][0].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut found: Vec<_> = lines.iter().map(|line| (text(&line["path"]), text(&line["kind"]))).collect();
        found.sort();
        (found, summary)
    }

    /// Plants damage that leaves no trace: the row and its object are those of another content of the same length, as if that
    /// had been synced, and the file had decayed since.
    pub async fn damage(&self, path: &str) {
        let was: Vec<u8> = fs::read(self.path(path)).unwrap().iter().map(|byte| byte ^ 1).collect();
        let key = format!("{}{path}", self.prefix);
        self.s3.put(&self.bucket, &key, was.clone()).await;
        let (md5, etag) = (md5_hex(&was), self.s3.object(&self.bucket, &key).await.unwrap().etag);
        let sql =
            format!("UPDATE portail.file SET md5 = '\\x{md5}', etag = '{etag}' WHERE path = '{path}' RETURNING 1");
        assert_eq!(self.db.rows(&sql).await.len(), 1);
    }

    /// Another directory beside the folder.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `sync --json`, which must end in sync.
    pub async fn synced(&self) -> Outcome {
        self.sync(&[]).await.expect_code(0)
    }

    /// `sync --json`, which must end with 1.
    pub async fn troubled(&self) -> Outcome {
        self.sync(&[]).await.expect_code(1)
    }

    /// `sync` for people, and what it printed.
    pub async fn sync_text(&self, code: i32) -> String {
        self.run(&["sync"]).await.expect_code(code).stdout
    }

    /// The steps of a dry run, as action and path.
    pub async fn plan(&self) -> Vec<(String, String)> {
        let outcome = self.sync(&["--dry-run"]).await.expect_code(0);
        let step = |line: &str| {
            let step: Value = serde_json::from_str(line).unwrap();
            (step["action"].as_str().unwrap().to_owned(), step["path"].as_str().unwrap().to_owned())
        };
        let mut steps: Vec<_> = outcome.stdout.lines().map(step).collect();
        steps.sort();
        steps
    }

    /// Folder, bucket and catalog hold the same, to the last byte and stamp.
    pub async fn assert_in_sync(&self) {
        self.assert_same(true).await;
    }

    /// As [`Self::assert_in_sync`], but for the objects' metadata, which nobody writes for a touch or an adoption.
    pub async fn assert_same_content(&self) {
        self.assert_same(false).await;
    }

    async fn assert_same(&self, with_metadata: bool) {
        if let Some(difference) = self.difference(with_metadata).await {
            panic!("{difference}");
        }
    }

    /// The first difference between folder, bucket and catalog, if there is one. What is cheap to ask comes first.
    pub async fn difference(&self, with_metadata: bool) -> Option<String> {
        self.difference_but_for(with_metadata, &|_| false, &|_| false).await
    }

    /// As [`Self::difference`], where these paths are not to be synced, and these objects may be there without a file.
    pub async fn difference_but_for(
        &self,
        with_metadata: bool,
        is_excluded: &dyn Fn(&str) -> bool,
        may_stay: &dyn Fn(&str) -> bool,
    ) -> Option<String> {
        let mut local = files(&self.root);
        local.retain(|path, _| !is_excluded(path));
        let keys = self.s3.keys(&self.bucket).await;
        let expected: Vec<String> = local.keys().map(|path| format!("{}{path}", self.prefix)).collect();
        let is_ours = |key: &&String| key.starts_with(&self.prefix) && (expected.contains(key) || !may_stay(key));
        let keys: Vec<&String> = keys.iter().filter(is_ours).collect();
        let expected: Vec<&String> = expected.iter().collect();
        if keys != expected {
            return Some(format!("keys of the bucket and files of the folder: {}", first_difference(&keys, &expected)));
        }
        let rows = self.file_rows().await;
        let (paths, names): (Vec<&String>, Vec<&String>) = (rows.keys().collect(), local.keys().collect());
        if paths != names {
            return Some(format!("rows and files: {}", first_difference(&paths, &names)));
        }
        for (path, file) in &local {
            let row = &rows[path];
            let seen = [
                format!("{}{path}", self.prefix),
                "synced".to_owned(),
                file.meta.len().to_string(),
                file.md5.clone(),
                row[5].clone(),
                nanos(&file.meta).to_string(),
                file.meta.mode().to_string(),
                path.rsplit('/').next().unwrap_or_default().to_owned(),
            ];
            if row[1..] != seen {
                return Some(format!("row of {path:?}: {:?} and {seen:?}", &row[1..]));
            }
        }
        for (path, file) in &local {
            let key = format!("{}{path}", self.prefix);
            let Some(object) = self.s3.object(&self.bucket, &key).await else {
                return Some(format!("the object {key:?} has gone"));
            };
            if md5_hex(&object.bytes) != file.md5 {
                return Some(format!("content of {path:?}"));
            }
            if object.etag != rows[path][5] {
                return Some(format!("ETag of {path:?}"));
            }
            let expected = [
                ("mtime", Stamp(nanos(&file.meta)).to_decimal()),
                ("mode", format!("{:07o}", file.meta.mode())),
                ("uid", file.meta.uid().to_string()),
                ("gid", file.meta.gid().to_string()),
            ];
            let wrong = expected.iter().find(|(name, value)| object.metadata.get(*name) != Some(value));
            if let (true, Some((name, value))) = (with_metadata, wrong) {
                return Some(format!("{name} of {path:?}: {:?} and {value:?}", object.metadata.get(*name)));
            }
        }
        None
    }

    /// The rows of this agent's folder, by path.
    async fn file_rows(&self) -> BTreeMap<String, Vec<String>> {
        let sql = format!(
            "SELECT f.path, f.key, f.state, f.size, encode(f.md5, 'hex'), f.etag, f.mtime_ns, f.mode, f.name
             FROM portail.file f JOIN portail.folder d ON d.id = f.folder_id
             WHERE d.bucket = '{}' AND d.prefix = '{}' AND d.agent = '{}'",
            self.bucket, self.prefix, self.name
        );
        self.db.rows(&sql).await.into_iter().map(|row| (row[0].clone(), row)).collect()
    }
}

/// What one list has and the other has not.
fn first_difference(have: &[&String], want: &[&String]) -> String {
    let lacks = |list: &[&String], other: &[&String]| -> Vec<String> {
        list.iter().filter(|item| !other.contains(item)).take(5).map(|item| (*item).clone()).collect()
    };
    format!("{} and {}: too many {:?}, missing {:?}", have.len(), want.len(), lacks(have, want), lacks(want, have))
}

/// Waits for a program to end.
pub async fn finish(child: Child) -> Outcome {
    let began = std::time::Instant::now();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it does not end").unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Outcome {
        code: output.status.code(),
        json: serde_json::from_str(&stdout).unwrap_or(Value::Null),
        stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
        took: began.elapsed(),
    }
}

impl Outcome {
    /// Stops the test, with all that the program has said, if it has ended otherwise.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// What the summary says of the first folder.
    pub fn folder(&self) -> &Value {
        &self.json["folders"][0]
    }

    /// How many paths have ended so: `uploaded`, `copied`…
    pub fn done(&self, kind: &str) -> u64 {
        self.folder()["done"][kind].as_u64().unwrap_or(0)
    }

    /// A number of what a restore says.
    pub fn count(&self, field: &str) -> u64 {
        self.json[field].as_u64().unwrap_or_else(|| panic!("{field} in {}{}", self.stdout, self.stderr))
    }

    /// The files that a restore could not bring back, with the reason.
    pub fn not_restored(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let failures = self.json["failures"].as_array().unwrap_or_else(|| panic!("{}{}", self.stdout, self.stderr));
        failures.iter().map(|failure| (text(&failure["path"]), text(&failure["error"]))).collect()
    }

    /// A number of the first folder's summary.
    pub fn number(&self, field: &str) -> u64 {
        self.folder()[field].as_u64().unwrap_or_else(|| panic!("{field} in {}", self.stdout))
    }

    /// The paths that have failed, with the reason.
    pub fn failures(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let failures = self.folder()["failures"].as_array().unwrap();
        failures.iter().map(|failure| (text(&failure["path"]), text(&failure["error"]))).collect()
    }

    /// Stops the test unless both streams together say this.
    pub fn expect_words(self, words: &[&str]) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(said.contains(word), "{word:?} is missing in:\n{said}");
        }
        self
    }
}

/// A regular file of a folder.
pub struct LocalFile {
    pub meta: fs::Metadata,
    pub md5: String,
}

/// All regular files below a directory, by encoded path. Links are not followed.
pub fn files(root: &Path) -> BTreeMap<String, LocalFile> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                directories.push(path);
            } else if meta.is_file() {
                let name = RelPath::from_raw(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
                let md5 = md5_hex(&fs::read(&path).unwrap());
                found.insert(name.as_str().to_owned(), LocalFile { meta, md5 });
            }
        }
    }
    found
}

pub fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stops the test unless two trees have the same files, by content, modification time and permission bits.
pub fn assert_same_files(left: &Path, right: &Path) {
    let describe = |root: &Path| -> BTreeMap<String, (String, i64, u32)> {
        let describe = |file: LocalFile| (file.md5, nanos(&file.meta), file.meta.mode() & 0o777);
        files(root).into_iter().map(|(path, file)| (path, describe(file))).collect()
    };
    let (left, right) = (describe(left), describe(right));
    let (names, others): (Vec<&String>, Vec<&String>) = (left.keys().collect(), right.keys().collect());
    assert!(names == others, "{}", first_difference(&names, &others));
    for (path, file) in &left {
        assert_eq!(file, &right[path], "{path:?}");
    }
}

/// Bytes that differ everywhere, and for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

fn nanos(meta: &fs::Metadata) -> i64 {
    meta.mtime() * 1_000_000_000 + meta.mtime_nsec()
}

/// Sets a file's modification time; its change time moves to now, as always.
pub fn set_mtime(path: &Path, time: SystemTime) {
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Copies a tree with all its attributes, as a restore does.
pub fn copy_tree(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(30), "still not so after 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
