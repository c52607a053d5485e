//! What a bucket does by itself: whether it keeps versions, and what its lifecycle does to objects and unfinished uploads. Nothing
//! here fails: the program works with any of it, and a person may want to know.

use serde_json::json;

use super::line::{Findings, Line};
use crate::cli::output::OutputError;
use crate::config::settings::FolderSettings;
use crate::remote::{Bucket, Lifecycle, RemoteError, Trouble, Versioning};

/// An upload in parts that takes longer than a week has been forgotten.
const ABORT_AFTER_DAYS: i32 = 7;
/// The daemon may be stopped for a weekend in the middle of a large upload, and goes on with it afterwards.
const TOO_SOON_DAYS: i32 = 3;

pub(super) async fn check<P>(bucket: &Bucket, folder: &FolderSettings, findings: &mut Findings<P>) -> anyhow::Result<()>
where
    P: FnMut(&Line) -> Result<(), OutputError>,
{
    findings.say(versions(folder, &bucket.versioning().await))?;
    Ok(findings.say(lifecycle(folder, &bucket.lifecycle(&folder.prefix).await))?)
}

fn versions(folder: &FolderSettings, found: &Result<Versioning, RemoteError>) -> Line {
    let what = format!("versions of bucket {}", folder.bucket);
    match found {
        Ok(Versioning::Enabled) => Line::ok(what, "kept: what is deleted or replaced can be brought back"),
        Ok(Versioning::Suspended) => Line::ok(what, "none are kept any more: what is deleted or replaced is gone"),
        Ok(Versioning::Never) => Line::ok(what, "none are kept: what is deleted or replaced is gone"),
        Err(error) => unseen(what, error),
    }
}

fn lifecycle(folder: &FolderSettings, found: &Result<Lifecycle, RemoteError>) -> Line {
    let place = if folder.prefix.is_empty() { String::new() } else { format!(" under {}", folder.prefix) };
    let what = format!("lifecycle of bucket {}{place}", folder.bucket);
    let lifecycle = match found {
        Ok(lifecycle) => lifecycle,
        Err(error) => return unseen(what, error),
    };
    if lifecycle.expires_objects {
        return Line::warn(what, "a rule deletes objects by their age, and they are uploaded again when that is found")
            .remedy("exclude the prefix from that rule");
    }
    match lifecycle.aborts_after {
        Some(days) if days < TOO_SOON_DAYS => {
            Line::warn(what, format!("unfinished uploads are thrown away after {days} days, even one that goes on"))
                .remedy(format!("raise DaysAfterInitiation to {ABORT_AFTER_DAYS}"))
        }
        Some(days) => Line::ok(what, format!("unfinished uploads are thrown away after {days} days")),
        None => {
            let remedy = match lifecycle.rules {
                0 => format!(
                    "aws s3api put-bucket-lifecycle-configuration --bucket {} --lifecycle-configuration '{}'",
                    folder.bucket,
                    json!({ "Rules": [rule(&folder.prefix)] })
                ),
                // That command would replace the others.
                others => format!("add this rule to the {others} that the bucket has: {}", rule(&folder.prefix)),
            };
            Line::warn(what, "unfinished uploads of a machine that never comes back are kept, and paid for")
                .remedy(remedy)
        }
    }
}

fn rule(prefix: &str) -> serde_json::Value {
    json!({
        "ID": "abort-unfinished-uploads",
        "Status": "Enabled",
        "Filter": { "Prefix": prefix },
        "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": ABORT_AFTER_DAYS }
    })
}

fn unseen(what: String, error: &RemoteError) -> Line {
    match error.trouble {
        Trouble::Denied => Line::ok(what, "not seen: these credentials may not look, and need not"),
        Trouble::Unreachable
        | Trouble::TimedOut
        | Trouble::NoCredentials
        | Trouble::Credentials
        | Trouble::ClockSkew
        | Trouble::NoSuchBucket
        | Trouble::WrongRegion
        | Trouble::NoRegion
        | Trouble::Throttled
        | Trouble::Server
        | Trouble::Full
        | Trouble::Damaged
        | Trouble::Precondition
        | Trouble::NotFound
        | Trouble::Archived
        | Trouble::Rejected
        | Trouble::Unexpected => Line::ok(what, "not seen: the store does not say"),
    }
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

    #[test]
    fn a_bucket_that_keeps_unfinished_uploads_comes_with_the_rule_that_ends_it() {
        let line = lifecycle(&folder(), &Ok(Lifecycle::default())).to_string();
        assert!(line.starts_with("warn  lifecycle of bucket files under docs/"), "{line}");
        let (_, json) = line.split_once("--lifecycle-configuration '").unwrap();
        let rules: serde_json::Value = serde_json::from_str(json.strip_suffix('\'').unwrap()).unwrap();
        assert_eq!(rules["Rules"][0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 7);
        assert_eq!(rules["Rules"][0]["Filter"]["Prefix"], "docs/");
        let others = lifecycle(&folder(), &Ok(Lifecycle { rules: 2, ..Lifecycle::default() })).to_string();
        assert!(others.contains("add this rule to the 2") && !others.contains("put-bucket"), "{others}");
    }

    #[test]
    fn a_rule_that_fits_is_good_and_one_that_is_too_soon_or_deletes_objects_is_told() {
        let line = |lifecycle_found| lifecycle(&folder(), &Ok(lifecycle_found)).to_string();
        let good = Lifecycle { rules: 1, aborts_after: Some(7), expires_objects: false };
        assert!(line(good).starts_with("ok"));
        assert!(line(Lifecycle { aborts_after: Some(1), ..good }).starts_with("warn"));
        assert!(line(Lifecycle { expires_objects: true, ..good }).contains("by their age"));
    }

    #[test]
    fn what_may_not_be_seen_is_no_failure() {
        let denied = |trouble| RemoteError {
            operation: Operation::GetBucketVersioning,
            bucket: "files".to_owned(),
            key: None,
            trouble,
            source: "no".into(),
        };
        for trouble in [Trouble::Denied, Trouble::Unexpected] {
            assert!(
                versions(&folder(), &Err(denied(trouble)))
                    .to_string()
                    .starts_with("ok    versions of bucket files: not seen")
            );
        }
        assert!(versions(&folder(), &Ok(Versioning::Enabled)).to_string().contains("can be brought back"));
    }
}
