//! Which reconciliations are wanted, and why.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Why a folder is reconciled. Where there are several reasons for one, the greatest counts: the one that most likely has lost
/// something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is time.
    Timer,
    /// A person has accepted the folder that is there now.
    Decision,
    /// Something was mounted in the folder, or unmounted.
    Mount,
    /// The configuration was read again.
    Reload,
    /// An outage is over.
    Outage,
    /// Events were lost.
    Overflow,
    /// It is the folder's first: nobody has watched before.
    Start,
}

impl Cause {
    /// What it is called where drift is counted. None if what is found is nobody's fault.
    pub fn blame(self) -> Option<&'static str> {
        match self {
            Self::Timer | Self::Decision => Some("missed_event"),
            Self::Reload => Some("reload"),
            Self::Outage => Some("outage"),
            Self::Overflow => Some("overflow"),
            Self::Mount | Self::Start => None,
        }
    }
}

/// Wishes for a reconciliation. One that begins fulfils all that were made until then; what is wished for while it runs needs
/// another, since it may have gone past what changed.
#[derive(Debug, Default)]
pub struct Wishes {
    greatest: Mutex<Option<Cause>>,
    made: Notify,
}

impl Wishes {
    /// Wishes for one.
    pub fn wish(&self, cause: Cause) {
        {
            let mut greatest = self.greatest.lock().unwrap_or_else(PoisonError::into_inner);
            *greatest = (*greatest).max(Some(cause));
        }
        self.made.notify_one();
    }

    /// Resolves as soon as there is a wish. It is still there afterwards. For one task at a time.
    pub async fn wished(&self) {
        // A wish that is made between the look and the wait leaves its notice.
        while !self.is_wished() {
            self.made.notified().await;
        }
    }

    /// Whether there is a wish.
    pub fn is_wished(&self) -> bool {
        self.greatest.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes all wishes, for the reconciliation that begins now; gives the greatest.
    pub fn take(&self) -> Option<Cause> {
        self.greatest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn is_wished(wishes: &Wishes) -> bool {
        use futures_util::FutureExt as _;
        let resolves = wishes.wished().now_or_never().is_some();
        assert_eq!(resolves, wishes.is_wished());
        resolves
    }

    #[test]
    fn a_reconciliation_fulfils_all_wishes_made_before_it_and_none_made_after() {
        let wishes = Wishes::default();
        assert!(!is_wished(&wishes));
        wishes.wish(Cause::Overflow);
        wishes.wish(Cause::Outage);
        assert!(is_wished(&wishes));
        assert_eq!(wishes.take(), Some(Cause::Overflow), "the later wish does not hide the graver one");
        assert!(!is_wished(&wishes), "one reconciliation is enough for both");
        // It runs.
        wishes.wish(Cause::Reload);
        assert!(is_wished(&wishes), "and this one needs another");
        assert_eq!(wishes.take(), Some(Cause::Reload));
        assert_eq!(wishes.take(), None);
    }

    #[tokio::test]
    async fn a_wish_is_never_slept_through() {
        for _ in 0..1000 {
            let wishes = Arc::new(Wishes::default());
            let wishing = Arc::clone(&wishes);
            let wish = tokio::spawn(async move { wishing.wish(Cause::Overflow) });
            tokio::time::timeout(Duration::from_secs(10), wishes.wished()).await.unwrap();
            assert_eq!(wishes.take(), Some(Cause::Overflow));
            wish.await.unwrap();
        }
    }

    #[test]
    fn only_what_nobody_could_have_seen_is_nobodys_fault() {
        let all =
            [Cause::Timer, Cause::Decision, Cause::Mount, Cause::Reload, Cause::Outage, Cause::Overflow, Cause::Start];
        let blamed: Vec<_> = all.into_iter().filter_map(Cause::blame).collect();
        assert_eq!(blamed, ["missed_event", "missed_event", "reload", "outage", "overflow"]);
        assert!(all.is_sorted());
    }
}
