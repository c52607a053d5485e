//! Each folder on this machine, all of them against each other, and the kernel's limit of watches.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::line::{Findings, Line};
use crate::cli::output::OutputError;
use crate::config::settings::{FolderSettings, Settings};
use crate::local::identity;
use crate::local::look::{Root, RootError};
use crate::local::survey::{Survey, file_system, survey};
use crate::model::{Identity, Printable, ShownPath};
use crate::sync::pipeline::blocking;

/// A survey of a folder that takes longer is cut short: a person is waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// <https://man7.org/linux/man-pages/man7/inotify.7.html>
const MAX_WATCHES: &str = "/proc/sys/fs/inotify/max_user_watches";

/// A folder that could be opened.
struct Seen {
    name: String,
    /// Without links.
    path: PathBuf,
    identity: Identity,
    /// Of a file system that does not announce every change.
    remote_kind: Option<&'static str>,
    /// As `mount` calls it.
    kind: Option<String>,
    survey: Survey,
}

pub(super) async fn check<P>(settings: &Settings, findings: &mut Findings<P>) -> anyhow::Result<()>
where
    P: FnMut(&Line) -> Result<(), OutputError>,
{
    let mut seen: Vec<Seen> = Vec::new();
    for folder in &settings.folders {
        let wanted = folder.clone();
        match blocking("survey", move || look(&wanted)).await? {
            Ok(found) => {
                for line in lines(&found, settings.sync.reconcile_every) {
                    findings.say(line)?;
                }
                if let Some(line) = seen.iter().find_map(|other| nested(&found, other)) {
                    findings.say(line)?;
                }
                seen.push(found);
            }
            Err(error) => {
                let line = Line::failed(title(&folder.name), &error);
                findings.say(if is_denied(&error) { line.remedy(LET_IN) } else { line })?;
            }
        }
    }
    // Elsewhere than on Linux there is no such limit.
    if let Some(limit) = std::fs::read_to_string(MAX_WATCHES).ok().and_then(|text| text.trim().parse().ok()) {
        let cut_short = seen.iter().any(|folder| folder.survey.cut_short);
        findings.say(watches(seen.iter().map(|folder| folder.survey.directories).sum(), cut_short, limit))?;
    }
    Ok(())
}

/// What opens a folder to a service that is not its owner.
const LET_IN: &str = "let this user read it, such as by its group: SupplementaryGroups=GROUP in `systemctl edit agent-portail`, \
     or `setfacl -R -m u:agent-portail:rX,d:u:agent-portail:rX`";

fn is_denied(error: &RootError) -> bool {
    match error {
        RootError::Open { source, .. } => source.kind() == std::io::ErrorKind::PermissionDenied,
        RootError::Missing { .. } | RootError::Replaced { .. } | RootError::Excludes { .. } => false,
    }
}

pub(super) fn title(folder: &str) -> String {
    format!("folder {folder}")
}

fn look(folder: &FolderSettings) -> Result<Seen, RootError> {
    let root = Root::open(folder)?;
    let failed = |source| RootError::Open { path: folder.path.clone(), source };
    Ok(Seen {
        name: folder.name.clone(),
        path: root.path().to_owned(),
        identity: identity::read(&folder.path).map_err(failed)?,
        remote_kind: root.remote_kind(),
        kind: file_system(root.path()),
        survey: survey(&root, Instant::now() + PATIENCE).map_err(failed)?,
    })
}

fn lines(folder: &Seen, reconcile_every: Duration) -> Vec<Line> {
    let (title, path, survey) = (title(&folder.name), ShownPath(&folder.path), &folder.survey);
    let least = if survey.cut_short { "at least " } else { "" };
    let mut lines = vec![Line::ok(
        title.clone(),
        format!(
            "{path} can be read: {least}{} files in {least}{} directories{}",
            survey.files,
            survey.directories,
            folder.kind.as_ref().map(|kind| format!(" on {kind}")).unwrap_or_default()
        ),
    )];
    if let Some(kind) = folder.remote_kind {
        let every = humantime::format_duration(reconcile_every);
        lines.push(
            Line::warn(title.clone(), format!("{kind} does not announce changes that other machines make"))
                .remedy(format!("they are found by the reconciliation every {every}: set sync.reconcile_every to what you can wait for")),
        );
    }
    if survey.unreadable > 0 {
        let first: Vec<String> = survey.first.iter().map(|(path, why)| format!("{path} ({why})")).collect();
        let more = if survey.unreadable > first.len() as u64 { ", …" } else { "" };
        lines.push(
            Line::fail(
                title.clone(),
                format!("{} entries can't be read: {}{more}", survey.unreadable, first.join(", ")),
            )
            .remedy(format!("{LET_IN}; or exclude them")),
        );
    }
    if survey.files == 0 && !survey.cut_short {
        lines.push(
            Line::warn(title, "it has no file")
                .remedy("check that the disk is mounted; nothing is deleted from an empty folder"),
        );
    }
    lines
}

/// What the configuration can't tell from the paths alone: links and bind mounts.
fn nested(folder: &Seen, other: &Seen) -> Option<Line> {
    let within = |inner: &Path, outer: &Path| inner.starts_with(outer);
    let how = if folder.identity == other.identity {
        "is the same directory as"
    } else if within(&folder.path, &other.path) {
        "lies within"
    } else if within(&other.path, &folder.path) {
        "holds"
    } else {
        return None;
    };
    let found = format!(
        "{} {how} {} of the folder {}",
        ShownPath(&folder.path),
        ShownPath(&other.path),
        Printable(&other.name)
    );
    Some(
        Line::fail(title(&folder.name), found)
            .remedy("each file must belong to one folder: remove one of them, or choose another path"),
    )
}

fn watches(directories: u64, cut_short: bool, limit: u64) -> Line {
    let least = if cut_short { "at least " } else { "" };
    let found = format!("{least}{directories} directories to watch, fs.inotify.max_user_watches is {limit}");
    // Editors and desktops of the same user watch, too.
    if directories <= limit / 10 * 8 && !cut_short {
        return Line::ok("inotify", found);
    }
    let wanted = (directories.saturating_mul(2)).next_power_of_two().max(524_288);
    let remedy =
        format!("echo fs.inotify.max_user_watches={wanted} > /etc/sysctl.d/60-agent-portail.conf && sysctl --system");
    if directories > limit {
        Line::fail("inotify", found).remedy(remedy)
    } else {
        Line::warn("inotify", found).remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RelPath;

    fn seen(name: &str, path: &str, inode: u64) -> Seen {
        let survey = Survey { directories: 2, files: 3, ..Survey::default() };
        let identity = Identity { fs_id: Some(1), inode, birth: None };
        Seen {
            name: name.to_owned(),
            path: path.into(),
            identity,
            remote_kind: None,
            kind: Some("ext4".to_owned()),
            survey,
        }
    }

    fn shown(lines: &[Line]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_folder_is_one_line() {
        let hour = Duration::from_secs(3600);
        assert_eq!(
            shown(&lines(&seen("docs", "/srv/docs", 1), hour)),
            ["ok    folder docs: /srv/docs can be read: 3 files in 2 directories on ext4"]
        );
    }

    #[test]
    fn each_trouble_of_a_folder_has_a_line_with_its_remedy() {
        let mut folder = seen("docs", "/srv/docs", 1);
        folder.remote_kind = Some("NFS");
        folder.survey.unreadable = 5;
        folder.survey.first = vec![(RelPath::from_raw(b"a/b"), "Permission denied".to_owned())];
        let lines = shown(&lines(&folder, Duration::from_secs(3600)));
        assert!(
            lines[1].starts_with("warn  folder docs: NFS does not announce") && lines[1].contains("every 1h"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("FAIL") && lines[2].contains("5 entries") && lines[2].contains("a/b (Permission"),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn an_empty_folder_is_a_warning() {
        let mut folder = seen("docs", "/mnt/disk", 1);
        folder.survey.files = 0;
        assert!(shown(&lines(&folder, Duration::ZERO))[1].starts_with("warn  folder docs: it has no file"));
    }

    #[test]
    fn folders_that_lie_in_each_other_by_a_link_are_told() {
        let outer = seen("outer", "/srv/a", 1);
        for (inner, how) in [
            (seen("x", "/srv/a/b", 2), "lies within"),
            (seen("x", "/srv", 2), "holds"),
            (seen("x", "/mnt/a", 1), "is the same directory as"),
        ] {
            let line = nested(&inner, &outer).unwrap().to_string();
            assert!(line.starts_with("FAIL") && line.contains(how), "{line}");
        }
        assert_eq!(nested(&seen("x", "/srv/ab", 2), &outer), None);
    }

    #[test]
    fn too_few_watches_come_with_the_command_that_raises_them() {
        assert!(watches(800, false, 1000).to_string().starts_with("ok"));
        assert!(watches(801, false, 1000).to_string().starts_with("warn"));
        assert!(watches(5, true, 1000).to_string().starts_with("warn"), "who knows how many more there are");
        let line = watches(400_000, false, 8192).to_string();
        assert!(line.starts_with("FAIL") && line.contains("fs.inotify.max_user_watches=1048576"), "{line}");
    }
}
