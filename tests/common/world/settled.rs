//! What must hold once nothing goes wrong any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::{DRIFT, World};
use crate::common::agent::assert_same_files;

/// For everything to be the same. A path that has failed several times waits for some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

impl World<'_> {
    /// Everything works again, and nobody changes anything: folder, bucket and catalog must come to be the same.
    pub async fn settle(&mut self) {
        if let Err(difference) = self.try_settle().await {
            panic!("{difference}");
        }
    }

    /// As [`Self::settle`]; answers what is not the same.
    pub async fn try_settle(&mut self) -> Result<(), String> {
        self.tell("settling");
        self.agent.s3.clear_scripts();
        self.daemon.as_mut().unwrap().until_ready().await;
        // What no event tells of, a reconciliation finds.
        if std::mem::take(&mut self.drifted) || self.churn().hard_links {
            self.reload().await;
        }
        let began = Instant::now();
        loop {
            let difference = self.difference().await;
            let folder = self.daemon().folder("files").await;
            if difference.is_none() && folder["state"] == "in_sync" {
                break;
            }
            self.decide().await;
            if began.elapsed() > PATIENCE {
                let (log, catalog) = (self.daemon().log_end(), self.catalog().await);
                return Err(format!("not the same: {difference:?}\n{folder}\n{log}\n{catalog}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.assert_sound();
        let seconds = began.elapsed().as_secs_f64();
        self.tell(&format!("the same, after {seconds:.1} s"));
        self.assert_foreign_untouched().await;
        Ok(())
    }

    /// What a person does about deletions that are held, who knows that the folder is the right one.
    async fn decide(&self) {
        let held = "SELECT DISTINCT reason FROM portail.held_delete WHERE decision IS NULL";
        let reasons = self.agent.db.column(held).await;
        let doubt = format!(
            "SELECT count(*) FROM portail.folder WHERE root_inode <> {}",
            fs::metadata(&self.agent.root).unwrap().ino()
        );
        // They exit 1 if the file was back in the last moment.
        if self.agent.db.count(&doubt).await > 0 {
            self.agent.run(&["deletes", "approve", "--identity", "--folder", "files"]).await;
            self.reload().await;
        } else if !reasons.is_empty() {
            self.agent.run(&["deletes", "approve", "--folder", "files"]).await;
        }
    }

    /// After the last step: a whole pass finds nothing left to do.
    pub async fn end(&mut self) {
        self.settle().await;
        self.daemon.take().unwrap().stop().await;
        let pass = self.agent.synced().await;
        let done = |kind| pass.done(kind);
        assert_eq!((done("uploaded"), done("copied"), done("deleted")), (0, 0, 0), "{}", pass.stdout);
        assert_eq!(self.difference().await, None);
        self.assert_foreign_untouched().await;
        if !self.confused {
            self.assert_restorable().await;
        }
    }

    /// What comes back from the bucket is the folder.
    async fn assert_restorable(&self) {
        let to = self.agent.aside("restored");
        self.agent.restore(&to, &[]).await.expect_code(0);
        // What came to be excluded has its row and object still.
        if !self.rules.1 {
            assert_same_files(&self.agent.root, &to);
        }
    }

    async fn difference(&self) -> Option<String> {
        let presence = &self.presence;
        let is_excluded = |path: &str| path.split('/').any(|part| part.ends_with(".skip"));
        let (recorded, theirs) = (self.recorded().await, self.theirs().await);
        let may_stay = |key: &str| {
            let path = key.strip_prefix(&self.agent.prefix).unwrap();
            let was_skipped = presence.was_skipped(path) || self.rules.1 && is_excluded(path);
            // Its answer, or its row, was lost in an outage or a crash or with the catalog, and its file has gone before the next
            // look: nobody knows any more whose it is.
            let lost = presence.uploaded(key).is_some_and(|uploaded| {
                let uploaded = uploaded.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
                recorded.get(path).is_none_or(|recorded| *recorded < uploaded)
            });
            presence.is_foreign(key) || theirs.contains(key) || was_skipped || lost
        };
        self.agent.difference_but_for(false, &|path| self.rules.0 && is_excluded(path), &may_stay).await
    }

    /// When the catalog last took down what an object holds, by path.
    async fn recorded(&self) -> HashMap<String, f64> {
        let sql = "SELECT path, extract(epoch FROM max(at)) FROM portail.event
             WHERE kind IN ('uploaded', 'copied', 'adopted') GROUP BY path";
        let rows = self.agent.db.rows(sql).await;
        rows.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect()
    }

    /// What the catalog has to say, when something went wrong.
    async fn catalog(&self) -> String {
        let rows = "SELECT f.path, f.state, f.error FROM portail.file f WHERE f.state <> 'synced'";
        let mut text = String::new();
        for sql in [
            rows,
            "SELECT 'held', path, reason, decision FROM portail.held_delete",
            "SELECT 'spooled', path, pass FROM portail.pending_delete",
            "SELECT at, kind, path FROM (SELECT * FROM portail.event ORDER BY at DESC LIMIT 300) last ORDER BY at",
        ] {
            for row in self.agent.db.rows(sql).await {
                text.push_str(&row.join(" "));
                text.push('\n');
            }
        }
        text
    }

    /// Keys of objects that still hold what somebody has written over them.
    async fn theirs(&self) -> HashSet<String> {
        let mut theirs = HashSet::new();
        for key in &self.overwritten {
            let object = self.agent.s3.object(&self.agent.bucket, key).await;
            if object.is_some_and(|object| object.bytes.starts_with(DRIFT)) {
                theirs.insert(key.clone());
            }
        }
        theirs
    }

    async fn assert_foreign_untouched(&self) {
        let agent = self.agent;
        for (key, bytes) in &self.foreign {
            let object = agent.s3.object(&agent.bucket, key).await;
            assert!(object.is_some_and(|object| object.bytes == *bytes), "{key:?}\n{}", self.daemon().log_end());
        }
    }
}
