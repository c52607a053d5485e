//! How a large object is cut for a multipart upload.

use super::Digest;

/// Parts that S3 takes for one object.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MAX_PARTS: u64 = 10_000;

/// Part sizes are whole blocks of MD5 (RFC 1321, section 3.4), so that the digest of the whole and those of the parts are made
/// in step.
pub const MD5_BLOCK: u64 = 64;

/// The parts of a content, and what each must arrive as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of each but the last.
    pub size: u64,
    /// The MD5 of each, in order. One at least: an empty content is one part without bytes.
    pub digests: Vec<Digest>,
}

/// The size of a part for a content of `size` bytes: the wanted one, or as much more, in whole MiB, as it takes to need no more
/// parts than S3 allows. Always whole blocks.
pub fn part_size(size: u64, wanted: u64) -> u64 {
    let least = size.div_ceil(MAX_PARTS);
    if wanted >= least { wanted.max(1).next_multiple_of(MD5_BLOCK) } else { least.next_multiple_of(1 << 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_ten_thousand_are_enough() {
        assert_eq!(part_size(100 << 20, 8 << 20), 8 << 20);
        assert_eq!(part_size((8 << 20) * MAX_PARTS, 8 << 20), 8 << 20);
        let size = (8 << 20) * MAX_PARTS + 1;
        assert_eq!(part_size(size, 8 << 20), 9 << 20);
        // The largest object that S3 takes.
        let huge: u64 = 5 << 40;
        assert!(huge.div_ceil(part_size(huge, 5 << 20)) <= MAX_PARTS);
        assert_eq!(part_size(0, 5 << 20), 5 << 20);
    }

    #[test]
    fn parts_are_whole_blocks_whatever_was_wished_for() {
        for wanted in [1, 63, 64, 65, (5 << 20) + 1] {
            let size = part_size(1 << 30, wanted);
            assert!(size.is_multiple_of(MD5_BLOCK) && size >= wanted, "{wanted}: {size}");
        }
    }
}
