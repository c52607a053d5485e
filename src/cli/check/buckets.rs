//! The bucket of each folder, by writing and removing a probe object under the folder's prefix, and the store's clock.

use std::time::Duration;

use rand::RngExt as _;

use super::habits;
use super::line::{Findings, Line};
use crate::cli::output::OutputError;
use crate::config::settings::{FolderSettings, Settings};
use crate::model::ObjectKey;
use crate::remote::{self, Limits, Patience, ProbeStep, RemoteError, Trouble};

/// A person is waiting, so a store that does not answer is given up sooner than by `sync`.
const PATIENCE: Patience = Patience { connect: Duration::from_secs(3), answer: Duration::from_secs(10), attempts: 2 };
/// S3 refuses a signature that is 15 minutes off.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const REFUSED_SKEW: u64 = 15 * 60;
/// Beyond it the clock is not kept by NTP, and will drift on.
const NOTED_SKEW: u64 = 60;

pub(super) async fn check<P>(settings: &Settings, findings: &mut Findings<P>) -> anyhow::Result<()>
where
    P: FnMut(&Line) -> Result<(), OutputError>,
{
    if settings.folders.is_empty() {
        return Ok(());
    }
    let limits = Limits { workers: 4, bandwidth: None };
    let client = match remote::connect_with(&settings.s3, &limits, &PATIENCE).await {
        Ok(client) => client,
        Err(error) => return Ok(findings.say(Line::failed("S3", &error))?),
    };
    for folder in &settings.folders {
        let steps = client.bucket(&folder.bucket).probe(&probe_key(&folder.prefix)).await;
        let unreachable = steps.iter().any(|(_, step)| step.as_ref().is_err_and(is_of_the_store));
        let usable = steps.iter().all(|(_, step)| step.is_ok());
        for line in lines(folder, &steps) {
            findings.say(line)?;
        }
        if usable {
            habits::check(&client.bucket(&folder.bucket), folder, findings).await?;
        }
        // Asking again for the next folder would only take as long once more.
        if unreachable {
            break;
        }
    }
    match client.clock_ahead().map(clock) {
        Some(line) => Ok(findings.say(line)?),
        None => Ok(()),
    }
}

fn probe_key(prefix: &str) -> ObjectKey {
    let random: u64 = rand::rng().random();
    ObjectKey::from_parts(prefix, &format!(".agent-portail-probe-{random:016x}"))
}

fn lines(folder: &FolderSettings, steps: &[(ProbeStep, Result<(), RemoteError>)]) -> Vec<Line> {
    let what = format!("bucket {} of the folder {}", folder.bucket, folder.name);
    let mut lines = Vec::new();
    let mut told = Vec::new();
    for (step, outcome) in steps {
        let Err(error) = outcome else { continue };
        // What is wrong with the bucket as such fails every step alike.
        if is_of_the_bucket(error.trouble) && told.contains(&error.trouble) {
            continue;
        }
        told.push(error.trouble);
        lines.push(Line::failed(format!("{what}, {}", step.describe()), error));
    }
    if lines.is_empty() {
        let done: Vec<&str> = steps.iter().map(|(step, _)| step.describe()).collect();
        let place = if folder.prefix.is_empty() { String::new() } else { format!(" under {}", folder.prefix) };
        lines.push(Line::ok(what, format!("may {}{place}", done.join(", "))));
    }
    lines
}

fn is_of_the_bucket(trouble: Trouble) -> bool {
    match trouble {
        Trouble::Unreachable
        | Trouble::TimedOut
        | Trouble::NoCredentials
        | Trouble::Credentials
        | Trouble::ClockSkew
        | Trouble::NoSuchBucket
        | Trouble::WrongRegion
        | Trouble::NoRegion => true,
        Trouble::Denied
        | Trouble::Throttled
        | Trouble::Server
        | Trouble::Full
        | Trouble::Damaged
        | Trouble::Precondition
        | Trouble::NotFound
        | Trouble::Archived
        | Trouble::Rejected
        | Trouble::Unexpected => false,
    }
}

/// No bucket of the store will fare better.
fn is_of_the_store(error: &RemoteError) -> bool {
    is_of_the_bucket(error.trouble) && !matches!(error.trouble, Trouble::NoSuchBucket | Trouble::WrongRegion)
}

fn clock(ahead: i64) -> Line {
    const WHAT: &str = "clock";
    let skew = ahead.unsigned_abs();
    let found = match skew {
        0..=1 => "as S3's".to_owned(),
        _ => format!("{skew} s {} S3's", if ahead > 0 { "ahead of" } else { "behind" }),
    };
    if skew <= NOTED_SKEW {
        return Line::ok(WHAT, found);
    }
    let remedy = "set the clock, and keep it with NTP (timedatectl set-ntp true)";
    if skew < REFUSED_SKEW { Line::warn(WHAT, found).remedy(remedy) } else { Line::fail(WHAT, found).remedy(remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{DeletePolicy, SymlinkPolicy};
    use crate::remote::Operation;

    fn folder() -> FolderSettings {
        FolderSettings {
            name: "docs".to_owned(),
            path: "/srv/docs".into(),
            bucket: "files".to_owned(),
            prefix: "docs/".to_owned(),
            exclude: Vec::new(),
            delete: DeletePolicy::Mirror,
            symlinks: SymlinkPolicy::Skip,
            max_delete_percent: 25.0,
            max_delete_count: 100,
        }
    }

    fn refused(operation: Operation, trouble: Trouble) -> Result<(), RemoteError> {
        Err(RemoteError { operation, bucket: "files".to_owned(), key: None, trouble, source: "no".into() })
    }

    #[test]
    fn a_bucket_that_takes_everything_is_one_line() {
        let steps = [(ProbeStep::Write, Ok(())), (ProbeStep::List, Ok(()))];
        let lines = lines(&folder(), &steps);
        assert_eq!(lines.len(), 1);
        assert_eq!(
            lines[0].to_string(),
            "ok    bucket files of the folder docs: may write an object, list the bucket under docs/"
        );
    }

    #[test]
    fn each_step_that_is_denied_names_the_permission_that_is_missing() {
        let steps = [
            (ProbeStep::Write, Ok(())),
            (ProbeStep::List, refused(Operation::ListObjectsV2, Trouble::Denied)),
            (ProbeStep::Delete, refused(Operation::DeleteObject, Trouble::Denied)),
        ];
        let lines: Vec<String> = lines(&folder(), &steps).iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("FAIL") && lines[0].contains("s3:ListBucket"), "{lines:?}");
        assert!(lines[1].starts_with("FAIL") && lines[1].contains("s3:DeleteObject"), "{lines:?}");
    }

    #[test]
    fn a_missing_bucket_is_told_once() {
        let steps = [
            (ProbeStep::Write, refused(Operation::PutObject, Trouble::NoSuchBucket)),
            (ProbeStep::List, refused(Operation::ListObjectsV2, Trouble::NoSuchBucket)),
        ];
        assert_eq!(lines(&folder(), &steps).len(), 1);
    }

    #[test]
    fn a_clock_that_s3_would_refuse_fails() {
        assert!(clock(-1).to_string().starts_with("ok"));
        assert!(clock(90).to_string().starts_with("warn  clock: 90 s ahead of S3's"));
        assert!(clock(-1000).to_string().starts_with("FAIL  clock: 1000 s behind S3's"));
    }

    #[test]
    fn a_probe_is_nobodys_object_under_the_folders_prefix() {
        let key = probe_key("docs/");
        assert!(key.as_str().starts_with("docs/.agent-portail-probe-"));
        assert_ne!(key, probe_key("docs/"));
    }
}
