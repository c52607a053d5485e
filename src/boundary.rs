//! The boundaries of the acts: between any two of them the process may end, and the next start must put everything right.
//!
//! The crash matrix (`tests/faults/crash.rs`) ends it at each, with the feature `failpoints`. In any other build, nothing of this
//! is left.

/// Between two steps of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The writer's lock is held.
    LockTaken,
    /// The schema may be changed by nobody else.
    SchemaLocked,
    /// A migration was applied.
    Migrated,
    /// The folder is written down as this agent's.
    Claimed,
    /// An object is about to be sent.
    BeforePut,
    /// The store has acknowledged it.
    AfterPut,
    /// An object is about to be made by a copy.
    BeforeCopy,
    /// The store has made it.
    AfterCopy,
    /// An upload in parts is written down, and the store has not been asked for it.
    UploadNoted,
    /// The store has begun it, and nobody has written down its id.
    UploadBegun,
    /// Its id is written down.
    UploadIdNoted,
    /// A part is about to be sent.
    BeforePart,
    /// The store has acknowledged it.
    AfterPart,
    /// All parts are there.
    BeforeComplete,
    /// The object is there.
    AfterComplete,
    /// An upload in parts is about to be thrown away.
    BeforeAbort,
    /// Nothing of it is left in the store.
    AfterAbort,
    /// An upload in parts whose object and row are there, or of which nothing is left, is about to be forgotten.
    BeforeForget,
    /// It is forgotten.
    AfterForget,
    /// Rows are about to be written.
    BeforeRows,
    /// They are written, and nobody has heard of it.
    AfterRows,
    /// Deletions are spooled.
    Spooled,
    /// They were judged, and may be carried out.
    Judged,
    /// Rows say `deleting`.
    Deleting,
    /// The files were looked at once more; their objects are about to be deleted.
    BeforeDelete,
    /// The objects have gone.
    AfterDelete,
    /// The rows have gone.
    RowsGone,
    /// The deletions are off the spool.
    Unspooled,
}

/// The process has come this far.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn reached(_: Boundary) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::reached;
#[cfg(feature = "failpoints")]
pub use armed::{ALL, Crash};

#[cfg(feature = "failpoints")]
mod armed {
    use super::Boundary;

    /// Each of them, in the order in which they are declared.
    pub const ALL: [Boundary; 28] = [
        Boundary::LockTaken,
        Boundary::SchemaLocked,
        Boundary::Migrated,
        Boundary::Claimed,
        Boundary::BeforePut,
        Boundary::AfterPut,
        Boundary::BeforeCopy,
        Boundary::AfterCopy,
        Boundary::UploadNoted,
        Boundary::UploadBegun,
        Boundary::UploadIdNoted,
        Boundary::BeforePart,
        Boundary::AfterPart,
        Boundary::BeforeComplete,
        Boundary::AfterComplete,
        Boundary::BeforeAbort,
        Boundary::AfterAbort,
        Boundary::BeforeForget,
        Boundary::AfterForget,
        Boundary::BeforeRows,
        Boundary::AfterRows,
        Boundary::Spooled,
        Boundary::Judged,
        Boundary::Deleting,
        Boundary::BeforeDelete,
        Boundary::AfterDelete,
        Boundary::RowsGone,
        Boundary::Unspooled,
    ];

    // The last one stands in its place, so none of those before it was forgotten.
    const _: () = assert!(ALL.len() == Boundary::Unspooled as usize + 1);

    impl Boundary {
        /// Of its fail point.
        pub fn name(self) -> &'static str {
            match self {
                Self::LockTaken => "lock-taken",
                Self::SchemaLocked => "schema-locked",
                Self::Migrated => "migrated",
                Self::Claimed => "claimed",
                Self::BeforePut => "before-put",
                Self::AfterPut => "after-put",
                Self::BeforeCopy => "before-copy",
                Self::AfterCopy => "after-copy",
                Self::UploadNoted => "upload-noted",
                Self::UploadBegun => "upload-begun",
                Self::UploadIdNoted => "upload-id-noted",
                Self::BeforePart => "before-part",
                Self::AfterPart => "after-part",
                Self::BeforeComplete => "before-complete",
                Self::AfterComplete => "after-complete",
                Self::BeforeAbort => "before-abort",
                Self::AfterAbort => "after-abort",
                Self::BeforeForget => "before-forget",
                Self::AfterForget => "after-forget",
                Self::BeforeRows => "before-rows",
                Self::AfterRows => "after-rows",
                Self::Spooled => "spooled",
                Self::Judged => "judged",
                Self::Deleting => "deleting",
                Self::BeforeDelete => "before-delete",
                Self::AfterDelete => "after-delete",
                Self::RowsGone => "rows-gone",
                Self::Unspooled => "unspooled",
            }
        }
    }

    /// What `FAILPOINTS` asks for is in force as long as this lives, in the form that the crate `fail` describes: `return` ends the
    /// process as SIGKILL does, so that `FAILPOINTS=after-put=2*off->return` ends it the third time that it comes there.
    pub struct Crash {
        _scenario: fail::FailScenario<'static>,
    }

    impl Crash {
        /// As the environment has it.
        pub fn from_environment() -> Self {
            Self { _scenario: fail::FailScenario::setup() }
        }
    }

    /// The process has come this far; it goes no further if it was asked to end here.
    pub(crate) fn reached(boundary: Boundary) {
        fail::fail_point!(boundary.name(), |_| end());
    }

    fn end() {
        // It can't be refused: it is our own process.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // Until it is delivered.
        loop {
            std::thread::park();
        }
    }
}
