//! The versions of a bucket's objects, as S3 keeps them where versioning is on.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>

use std::collections::BTreeMap;

use super::index::Entry;

/// What `GET ?versionId=` calls a version that was put while the bucket had none.
const NONE: &str = "null";

/// The objects of a bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// The current ones, which listings show.
    pub(super) objects: BTreeMap<String, Entry>,
    /// On, suspended, or never set.
    pub(super) versioning: Option<bool>,
    /// What came before, the newest last.
    older: BTreeMap<String, Vec<Older>>,
}

#[derive(Debug)]
enum Older {
    Object(Entry),
    /// In the place of a deleted object.
    Marker(String),
}

impl Older {
    fn version(&self) -> &str {
        match self {
            Self::Object(entry) => entry.version.as_deref().unwrap_or(NONE),
            Self::Marker(version) => version,
        }
    }
}

impl Bucket {
    fn has_versions(&self) -> bool {
        self.versioning == Some(true)
    }

    /// Makes an object current. Answers its version, and what nobody can get at any more.
    pub(super) fn put(&mut self, key: &str, mut entry: Entry) -> (Option<String>, Option<Entry>) {
        entry.version = self.has_versions().then(|| entry.blob.clone());
        let version = entry.version.clone();
        let before = self.objects.insert(key.to_owned(), entry);
        (version, before.and_then(|before| self.supersede(key, before)))
    }

    /// Deletes what is current, and leaves the marker `version` where there are versions. Answers the marker, and what nobody can get at any
    /// more.
    pub(super) fn delete(&mut self, key: &str, version: String) -> (Option<String>, Option<Entry>) {
        let discarded = self.objects.remove(key).and_then(|before| self.supersede(key, before));
        if !self.has_versions() {
            return (None, discarded);
        }
        self.older.entry(key.to_owned()).or_default().push(Older::Marker(version.clone()));
        (Some(version), discarded)
    }

    /// Keeps what was current, if it is a version or versions are kept; else hands it back.
    fn supersede(&mut self, key: &str, before: Entry) -> Option<Entry> {
        if !self.has_versions() && before.version.is_none() {
            return Some(before);
        }
        self.older.entry(key.to_owned()).or_default().push(Older::Object(before));
        None
    }

    /// A version of an object.
    pub(super) fn version(&self, key: &str, version: &str) -> Option<&Entry> {
        let is_wanted = |entry: &&Entry| entry.version.as_deref().unwrap_or(NONE) == version;
        let older = self.older.get(key).into_iter().flatten().filter_map(|older| match older {
            Older::Object(entry) => Some(entry),
            Older::Marker(_) => None,
        });
        self.objects.get(key).into_iter().chain(older).find(is_wanted)
    }

    /// Removes a version or a marker for good; what came before becomes current. Answers what was removed.
    pub(super) fn forget(&mut self, key: &str, version: &str) -> Option<Entry> {
        let current = self.objects.get(key).is_some_and(|entry| entry.version.as_deref().unwrap_or(NONE) == version);
        let removed = if current {
            self.objects.remove(key)
        } else {
            let older = self.older.get_mut(key)?;
            let index = older.iter().position(|older| older.version() == version)?;
            match older.remove(index) {
                Older::Object(entry) => Some(entry),
                Older::Marker(_) => None,
            }
        };
        if !self.objects.contains_key(key)
            && let Some(older) = self.older.get_mut(key)
            && let Some(Older::Object(entry)) = older.pop_if(|older| matches!(older, Older::Object(_)))
        {
            self.objects.insert(key.to_owned(), entry);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn entry(blob: &str) -> Entry {
        Entry { blob: blob.to_owned(), size: 1, etag: "e".to_owned(), modified: SystemTime::UNIX_EPOCH, version: None }
    }

    fn blob(entry: Option<&Entry>) -> Option<&str> {
        entry.map(|entry| entry.blob.as_str())
    }

    #[test]
    fn without_versions_nothing_is_kept() {
        let mut bucket = Bucket::default();
        assert!(bucket.put("k", entry("1")).1.is_none());
        let (version, discarded) = bucket.put("k", entry("2"));
        assert_eq!((version, blob(discarded.as_ref())), (None, Some("1")));
        let (marker, discarded) = bucket.delete("k", "3".to_owned());
        assert_eq!((marker, blob(discarded.as_ref())), (None, Some("2")));
        assert!(bucket.version("k", NONE).is_none());
    }

    #[test]
    fn with_versions_each_can_be_had_and_a_marker_hides_them() {
        let mut bucket = Bucket::default();
        bucket.put("k", entry("0"));
        bucket.versioning = Some(true);
        assert_eq!(bucket.put("k", entry("1")).0.as_deref(), Some("1"));
        bucket.put("k", entry("2"));
        assert_eq!(bucket.delete("k", "3".to_owned()).0.as_deref(), Some("3"));
        assert!(!bucket.objects.contains_key("k"));
        for (version, expected) in [(NONE, Some("0")), ("1", Some("1")), ("2", Some("2")), ("3", None), ("4", None)] {
            assert_eq!(blob(bucket.version("k", version)), expected, "{version}");
        }
        // Without its marker, the object is back.
        assert!(bucket.forget("k", "3").is_none());
        assert_eq!(blob(bucket.objects.get("k")), Some("2"));
        assert_eq!(blob(bucket.forget("k", "2").as_ref()), Some("2"));
        assert_eq!(blob(bucket.objects.get("k")), Some("1"));
        bucket.versioning = Some(false);
        assert_eq!(bucket.put("k", entry("5")), (None, None));
        assert_eq!(blob(bucket.version("k", "1")), Some("1"), "what was a version stays one");
    }
}
