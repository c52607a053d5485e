//! What can go wrong around the program, drawn at random: the store, the database, the process, the folder, and other people.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::s3::{Reply, Seen, error_body};

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// Requests meet this trouble, this many of a hundred, until it is calm again.
    Store(Trouble, u32),
    /// The store's trouble is over.
    Calm,
    /// Every session of the database is ended, that of the writer's lock too.
    Sessions,
    /// The database server is away for this long, after a stop or a crash.
    Database {
        away: Duration,
        crash: bool,
    },
    /// SIGKILL, and a new start after a while.
    Kill {
        down: Duration,
    },
    /// SIGTERM, and a new start after a while.
    Stop {
        down: Duration,
    },
    /// SIGSTOP, and SIGCONT after a while.
    Pause(Duration),
    /// SIGHUP.
    Reload,
    /// The folder is renamed, changed there, and renamed back; meanwhile nothing or an empty one is in its place.
    Away {
        away: Duration,
        replaced: bool,
    },
    /// The exclude rules of the folder come into force, or go.
    Rules(bool),
    /// A directory or file may not be read for a while, and there is news of what lies below.
    Unreadable(Duration),
    /// A directory's place is taken by a link to where it has been moved, for a while.
    Swapped(Duration),
    /// A copy of the database server's files is put by.
    Backup,
    /// The database is what it was at the last backup.
    Past,
    /// The database has no schema any more.
    Lost,
    /// Somebody deletes objects.
    Vanished(usize),
    /// Somebody overwrites objects.
    Overwritten(usize),
    /// Somebody puts objects of their own.
    Foreign,
}

/// How a request to the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Disconnect,
    SlowDown,
    /// 503 without a document, as a gateway says it.
    Nameless,
    Internal,
    /// Done, but the answer is lost.
    Lost,
    /// Done, but the answer is 500.
    Masked,
    Late(Duration),
    /// A single request is never answered.
    Hang,
}

/// What a draw may come to.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The database server is nobody else's.
    pub own_server: bool,
    /// The process may be ended and started anew.
    pub restarts: bool,
    /// Permissions don't bind whoever does the operations, but they bind the program.
    pub permissions: bool,
}

impl Fault {
    pub fn draw(random: &mut StdRng, scope: Scope) -> Self {
        let long = millis(random, 100, 2500);
        if random.random_bool(0.15) {
            return match random.random_range(0..6) {
                0 | 1 if scope.own_server => Self::Backup,
                2 if scope.own_server => Self::Past,
                3 => Self::Lost,
                4 => Self::Vanished(usize::MAX),
                _ => Self::Swapped(long),
            };
        }
        match random.random_range(0..100) {
            0..14 => Self::None,
            14..36 => Self::Store(Trouble::draw(random), *[15, 40, 100].choose(random).unwrap()),
            36..46 => Self::Calm,
            46..52 => Self::Sessions,
            52..57 if scope.own_server => Self::Database { away: long, crash: random.random_bool(0.5) },
            57..65 if scope.restarts => {
                Self::Kill { down: if random.random_bool(0.5) { Duration::ZERO } else { long } }
            }
            65..70 if scope.restarts => {
                Self::Stop { down: if random.random_bool(0.5) { Duration::ZERO } else { long } }
            }
            70..74 => Self::Pause(long),
            74..79 => Self::Reload,
            79..84 => Self::Away { away: long, replaced: random.random_bool(0.5) },
            84..87 => Self::Rules(random.random_bool(0.6)),
            87..92 if scope.permissions => Self::Unreadable(long),
            92..95 => Self::Vanished(random.random_range(1..8)),
            95..98 => Self::Overwritten(random.random_range(1..8)),
            98.. => Self::Foreign,
            _ => Self::None,
        }
    }
}

impl Trouble {
    fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..8) {
            0 => Self::Disconnect,
            1 => Self::SlowDown,
            2 => Self::Nameless,
            3 => Self::Internal,
            4 => Self::Lost,
            5 => Self::Masked,
            6 => Self::Late(millis(random, 50, 1200)),
            _ => Self::Hang,
        }
    }

    /// As a script of the proxy.
    pub fn script(self, percent: u32, mut random: StdRng) -> impl FnMut(&Seen) -> Option<Reply> + Send + 'static {
        let mut hung = false;
        move |seen| {
            if self == Self::Hang {
                // A listing is asked for each time that an outage may be over; hanging with it says nothing new.
                let hangs = !hung && seen.operation != "ListObjectsV2";
                hung |= hangs;
                return hangs.then_some(Reply::Hang);
            }
            random.random_ratio(percent, 100).then(|| self.reply())
        }
    }

    fn reply(self) -> Reply {
        let answer = |status, body| Reply::Answer { status, headers: Vec::new(), body };
        match self {
            Self::Disconnect => Reply::Disconnect,
            Self::SlowDown => answer(503, error_body("SlowDown")),
            Self::Nameless => answer(503, String::new()),
            Self::Internal => answer(500, error_body("InternalError")),
            Self::Lost => Reply::Lost,
            Self::Masked => Reply::Masked,
            Self::Late(wait) => Reply::Late(wait),
            Self::Hang => Reply::Hang,
        }
    }
}

/// A duration between two numbers of milliseconds.
pub fn millis(random: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.random_range(least..=most))
}
