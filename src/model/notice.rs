//! What people are told of.

/// As `portail.notice.kind` holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// Something fails, is held, or a server is away.
    Degraded,
    /// The folder is not there.
    Suspended,
    /// It is in sync again.
    Back,
    /// Deletions wait for a person.
    DeletionsHeld,
    /// A full comparison of folder, catalog and bucket did not come to its end.
    ReconciliationFailed,
}

impl NoticeKind {
    /// All that there are.
    pub const ALL: [Self; 5] =
        [Self::Degraded, Self::Suspended, Self::Back, Self::DeletionsHeld, Self::ReconciliationFailed];

    /// As the column holds it, and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Degraded => "degraded",
            Self::Suspended => "suspended",
            Self::Back => "back",
            Self::DeletionsHeld => "deletions_held",
            Self::ReconciliationFailed => "reconciliation_failed",
        }
    }

    /// From the column.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
