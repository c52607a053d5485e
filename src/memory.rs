//! Memory for the bytes of files that are on their way.
//!
//! A large piece of memory that has been given back stays with the allocator: glibc's keeps one for each thread that has asked
//! for it, up to eight for each processor, so that a bound on the bytes in flight would not bound the process. Large bodies are
//! mapped instead, and what is unmapped is gone.

use std::io;

use bytes::Bytes;
use memmap2::MmapMut;

/// From this size on, memory is mapped. Below it, a mapping would cost more than it gives back.
const MAPPED: usize = 256 * 1024;

/// Bytes of this length, filled by `fill`.
///
/// # Errors
/// If there is not so much memory, or as `fill` says.
pub fn filled<E: From<io::Error>>(length: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
    if length < MAPPED {
        let mut bytes = vec![0; length];
        fill(&mut bytes)?;
        return Ok(bytes.into());
    }
    let mut map = MmapMut::map_anon(length)?;
    fill(&mut map)?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_are_filled_alike_and_errors_come_through() {
        for length in [0, 1, MAPPED - 1, MAPPED, MAPPED + 1, 3 * MAPPED] {
            let bytes = filled::<io::Error>(length, |bytes| {
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(7);
                Ok(())
            });
            assert_eq!(bytes.unwrap(), vec![7; length]);
            let error = filled::<io::Error>(length, |_| Err(io::ErrorKind::UnexpectedEof.into())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_many_threads_have_held_goes_back_to_the_kernel() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
        };
        const BODY: usize = 8 << 20;
        let hold = || {
            // Freed once, so that an allocator that learns from it would keep the next one.
            for _ in 0..3 {
                let fill = |bytes: &mut [u8]| {
                    bytes.fill(1);
                    Ok::<_, io::Error>(())
                };
                filled(BODY, fill).unwrap();
            }
        };
        let before = resident();
        let barrier = std::sync::Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    hold();
                    barrier.wait();
                });
            }
        });
        assert!(resident() < before + 40, "{} MiB, then {} MiB", before, resident());
    }
}
