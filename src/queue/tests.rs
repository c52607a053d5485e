//! What the queue promises, with a clock of the tests' own.

use proptest::prelude::*;

use super::*;

const PACE: Pace = Pace { capacity: 10, quiet: Duration::from_millis(200), max_delay: Duration::from_secs(30) };

fn path(name: &str) -> RelPath {
    RelPath::from_raw(name.as_bytes())
}

fn event(queue: &mut Queue, name: &str, now: Instant) {
    queue.nominate_event(path(name), Scope::Path, now);
}

fn names(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.path.as_str()).collect()
}

#[test]
fn a_path_is_in_the_queue_once_whatever_nominates_it() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    event(&mut queue, "b", now);
    event(&mut queue, "a", now);
    queue.nominate(path("b"), Hint { by_reconciliation: true, ..Hint::EVENT }, now);
    assert_eq!(names(&queue.pop(now, 10)), ["a", "b"]);
    assert!(queue.pop(now, 10).is_empty());
}

#[test]
fn a_reconciliation_leaves_half_of_the_room_to_events() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    for count in 0..PACE.capacity {
        assert_eq!((queue.len(), queue.is_empty()), (count, count == 0));
        assert_eq!(queue.has_room(), count < 5, "{count} of {}", PACE.capacity);
        event(&mut queue, &format!("d{count}/a"), now);
    }
}

#[test]
fn a_path_nominated_while_running_runs_again_exactly_once() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    event(&mut queue, "a", now);
    event(&mut queue, "a", now);
    assert!(queue.pop(now, 1).is_empty(), "one path, one worker");
    queue.settle(&job.path, Settled::Done, now);
    let later = now + PACE.max_delay;
    let job = queue.pop(later, 2).remove(0);
    queue.settle(&job.path, Settled::Done, later);
    assert!(queue.is_empty());
}

#[test]
fn what_waits_for_its_time_is_no_work_until_it_has_come() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    assert!(!queue.has_work(now));
    event(&mut queue, "a", now);
    assert!(queue.has_work(now));
    let job = queue.pop(now, 1).remove(0);
    assert!(queue.has_work(now), "it is running");
    let pause = Duration::from_secs(300);
    queue.settle(&job.path, Settled::Failed { pause }, now);
    assert!(!queue.has_work(now + pause / 2), "it failed, and waits");
    assert!(queue.has_work(now + pause), "nobody has taken it since");
}

#[test]
fn what_a_listing_showed_does_not_outlive_an_act() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    queue.nominate(path("a"), Hint { remote: Remote::Missing, new_inode: None, by_reconciliation: true }, now);
    queue.settle(&job.path, Settled::Done, now);
    assert_eq!(queue.pop(now + PACE.max_delay, 1)[0].hint.remote, Remote::NotKnown);
}

#[test]
fn what_a_listing_shows_of_a_path_that_is_only_looked_at_holds() {
    for (settled, expected) in [(Settled::Untouched, Remote::Missing), (Settled::Done, Remote::NotKnown)] {
        let (mut queue, now) = (Queue::new(PACE), Instant::now());
        event(&mut queue, "a", now);
        let job = queue.pop(now, 1).remove(0);
        queue.nominate(path("a"), Hint { remote: Remote::Missing, new_inode: None, by_reconciliation: true }, now);
        queue.settle(&job.path, settled, now);
        assert_eq!(queue.pop(now + PACE.max_delay, 1)[0].hint.remote, expected, "{settled:?}");
    }
}

#[test]
fn what_a_listing_shows_reaches_a_path_that_waits_already_and_outlives_its_events() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    queue.nominate(path("a"), Hint { remote: Remote::Missing, new_inode: None, by_reconciliation: true }, now);
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    assert_eq!((job.hint.remote, job.hint.by_reconciliation), (Remote::Missing, false));
}

#[test]
fn a_try_that_failed_leaves_the_object_in_doubt_until_one_succeeds() {
    let pause = Duration::from_secs(1);
    for failed in [Settled::Failed { pause }, Settled::Interrupted { pause }] {
        for told in [false, true] {
            let (mut queue, now) = (Queue::new(PACE), Instant::now());
            event(&mut queue, "a", now);
            let job = queue.pop(now, 1).remove(0);
            if told {
                event(&mut queue, "a", now);
            }
            queue.settle(&job.path, failed, now);
            event(&mut queue, "a", now);
            let later = now + PACE.max_delay;
            let job = queue.pop(later, 1).remove(0);
            assert_eq!(job.hint.remote, Remote::Doubtful, "{failed:?}, {told}");
            event(&mut queue, "a", later);
            queue.settle(&job.path, Settled::Done, later);
            assert_eq!(queue.pop(later + PACE.max_delay, 1)[0].hint.remote, Remote::NotKnown);
        }
    }
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    queue.settle(&job.path, Settled::Deferred { pause }, now);
    assert_eq!(queue.pop(now + pause, 1)[0].hint.remote, Remote::NotKnown, "nothing was tried");
}

#[test]
fn a_failed_path_waits_for_its_pause_and_counts_its_attempts() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    let pause = Duration::from_secs(3);
    queue.settle(&job.path, Settled::Failed { pause }, now);
    assert!(queue.is_quiet() && !queue.is_empty());
    assert_eq!(queue.next_due(), Some(now + pause));
    assert!(queue.pop(now + pause / 2, 1).is_empty());
    assert_eq!(queue.pop(now + pause, 1)[0].attempts, 1);
}

#[test]
fn a_change_ends_the_wait_of_a_failed_path() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    queue.settle(&job.path, Settled::Failed { pause: Duration::from_secs(60) }, now);
    event(&mut queue, "a", now);
    assert_eq!(names(&queue.pop(now, 1)), ["a"]);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn a_deferred_path_is_no_failure() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    queue.settle(&job.path, Settled::Deferred { pause: Duration::ZERO }, now);
    let job = queue.pop(now, 1).remove(0);
    assert_eq!((job.attempts, job.deferred), (0, true));
}

#[test]
fn a_path_that_keeps_changing_is_tried_ever_less_often_but_at_max_delay_at_the_latest() {
    let (mut queue, start) = (Queue::new(PACE), Instant::now());
    let mut tries = Vec::new();
    // It changes each 100 ms for ten minutes.
    for tick in 0..6000_u32 {
        let now = start + Duration::from_millis(100) * tick;
        event(&mut queue, "log", now);
        for job in queue.pop(now, 1) {
            tries.push(now);
            queue.settle(&job.path, Settled::Done, now);
        }
    }
    let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(tries[0] == start, "the first settle waits for nothing");
    assert!(tries.len() < 40, "{} tries", tries.len());
    assert!(pauses.iter().all(|pause| *pause <= PACE.max_delay + Duration::from_millis(200)), "{pauses:?}");
}

#[test]
fn a_path_that_was_quiet_for_long_is_tried_at_once() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    queue.settle(&job.path, Settled::Done, now);
    let later = now + Duration::from_secs(5);
    event(&mut queue, "a", later);
    assert_eq!(names(&queue.pop(later, 1)), ["a"]);
}

#[test]
fn a_full_queue_collapses_into_directories_and_then_the_root() {
    let (mut queue, now) = (Queue::new(Pace { capacity: 3, ..PACE }), Instant::now());
    for name in ["d/a", "d/b", "e/c", "d/f"] {
        event(&mut queue, name, now);
    }
    let jobs: Vec<_> = queue.pop(now, 10).into_iter().map(|job| (job.path.as_str().to_owned(), job.scope)).collect();
    assert_eq!(jobs, [("e/c".to_owned(), Scope::Path), ("d".to_owned(), Scope::Tree)]);

    let mut queue = Queue::new(Pace { capacity: 2, ..PACE });
    for name in ["d/a", "e/b", "f/c"] {
        event(&mut queue, name, now);
    }
    let jobs: Vec<_> = queue.pop(now, 10).into_iter().map(|job| (job.path.as_str().to_owned(), job.scope)).collect();
    assert_eq!(jobs, [(String::new(), Scope::Tree)]);
}

#[test]
fn a_path_below_a_waiting_tree_needs_no_place_of_its_own() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    queue.nominate_event(path("d"), Scope::Tree, now);
    event(&mut queue, "d/x/y", now);
    event(&mut queue, "d-b", now);
    assert_eq!(names(&queue.pop(now, 10)), ["d", "d-b"]);
    event(&mut queue, "d/x/y", now);
    assert_eq!(names(&queue.pop(now, 10)), ["d/x/y"], "a tree that runs may have passed it");
}

#[test]
fn an_outage_that_ends_makes_everything_ready() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    event(&mut queue, "a", now);
    let job = queue.pop(now, 1).remove(0);
    queue.settle(&job.path, Settled::Failed { pause: Duration::from_secs(60) }, now);
    queue.wake_all();
    assert_eq!(names(&queue.pop(now, 1)), ["a"]);
}

#[test]
fn what_nobody_works_on_any_more_is_ready_again() {
    let (mut queue, now) = (Queue::new(PACE), Instant::now());
    let listed = Hint { remote: Remote::Missing, new_inode: None, by_reconciliation: true };
    queue.nominate(path("a"), listed, now);
    event(&mut queue, "b", now);
    assert_eq!(queue.pop(now, 10).len(), 2);
    queue.nominate_event(path("b"), Scope::Tree, now);
    queue.take_back();
    assert!(!queue.is_quiet());
    let jobs = queue.pop(now, 10);
    assert_eq!(names(&jobs), ["a", "b"]);
    assert_eq!((&jobs[0].hint.remote, jobs[1].scope), (&Remote::NotKnown, Scope::Tree));
    for job in &jobs {
        queue.settle(&job.path, Settled::Done, now);
    }
    assert!(queue.is_empty() && queue.is_quiet());
}

#[test]
fn pauses_grow_up_to_a_bound_and_are_spread_out() {
    let mut rng = rand::rng();
    for attempts in 0..40 {
        let pause = backoff(attempts, &mut rng);
        assert!(pause <= LONGEST_PAUSE);
        assert!(attempts > 0 || pause <= FIRST_PAUSE);
    }
    let longest = (0..200).map(|_| backoff(3, &mut rng)).max().unwrap();
    let shortest = (0..200).map(|_| backoff(3, &mut rng)).min().unwrap();
    assert!(longest > shortest * 2, "full jitter");
}

#[derive(Clone, Debug)]
enum Op {
    Event(String, bool),
    Found(String),
    Pop,
    Settle(usize, u8),
    TakeBack,
    Tick(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    let name = prop_oneof![Just("a"), Just("d/a"), Just("d/b"), Just("d/e/f"), Just("d"), Just("g/h"), Just("")];
    prop_oneof![
        (name.clone(), any::<bool>()).prop_map(|(name, tree)| Op::Event(name.to_owned(), tree)),
        name.prop_map(|name| Op::Found(name.to_owned())),
        Just(Op::Pop),
        (any::<usize>(), 0..4_u8).prop_map(|(index, how)| Op::Settle(index, how)),
        Just(Op::TakeBack),
        (0..60_000_u64).prop_map(Op::Tick),
    ]
}

proptest! {
    /// Whatever happens in whatever order: after each nomination a job that covers the path begins, no path runs twice at
    /// once, and in the end the queue is empty.
    #[test]
    fn no_change_is_ever_lost(ops in proptest::collection::vec(any_op(), 0..80), capacity in 1..6_usize) {
        let mut queue = Queue::new(Pace { capacity, ..PACE });
        let mut now = Instant::now();
        let mut running: Vec<Job> = Vec::new();
        let mut owed: BTreeSet<String> = BTreeSet::new();
        let begin = |queue: &mut Queue, now, running: &mut Vec<Job>, owed: &mut BTreeSet<String>| {
            for job in queue.pop(now, 2) {
                assert!(running.iter().all(|other| other.path != job.path), "one path, one worker");
                owed.retain(|name| !(name == job.path.as_str() || job.scope == Scope::Tree && path(name).is_within(job.path.as_str())));
                running.push(job);
            }
        };
        for op in ops {
            match op {
                Op::Event(name, tree) => {
                    queue.nominate_event(path(&name), if tree { Scope::Tree } else { Scope::Path }, now);
                    owed.insert(name);
                }
                Op::Found(name) => {
                    queue.nominate(path(&name), Hint { by_reconciliation: true, ..Hint::EVENT }, now);
                    owed.insert(name);
                }
                Op::Pop => begin(&mut queue, now, &mut running, &mut owed),
                Op::Settle(index, how) if !running.is_empty() => {
                    let job = running.remove(index % running.len());
                    let pause = Duration::from_millis(700);
                    let settled = [
                        Settled::Done,
                        Settled::Untouched,
                        Settled::Failed { pause },
                        Settled::Deferred { pause },
                        Settled::Interrupted { pause },
                    ][usize::from(how)];
                    queue.settle(&job.path, settled, now);
                }
                Op::Settle(..) => {}
                Op::TakeBack => {
                    owed.extend(running.drain(..).map(|job| job.path.as_str().to_owned()));
                    queue.take_back();
                }
                Op::Tick(ms) => now += Duration::from_millis(ms),
            }
            prop_assert!(queue.len() <= capacity + running.len() + 8);
        }
        for _ in 0..200 {
            for job in std::mem::take(&mut running) {
                queue.settle(&job.path, Settled::Done, now);
            }
            now += PACE.max_delay;
            begin(&mut queue, now, &mut running, &mut owed);
            if queue.is_empty() {
                break;
            }
        }
        prop_assert!(queue.is_empty());
        prop_assert!(owed.is_empty(), "{owed:?}");
    }
}
