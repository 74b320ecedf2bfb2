//! Files of text in which every line ends in the same way.

use std::io::Read;

/// A file whose lines end in one way, whichever of the three it has: the library takes all of them for ends of
/// rows, and counts but one kind for its numbers of lines.
pub(super) struct PlainLines<R> {
    file: R,
    is_after_return: bool,
}

impl<R> PlainLines<R> {
    pub(super) const fn of(file: R) -> Self {
        Self { file, is_after_return: false }
    }
}

impl<R: Read> Read for PlainLines<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n_read = self.file.read(bytes)?;
            let mut n_kept = 0;
            for at in 0..n_read {
                let byte = bytes[at];
                let is_second_half = byte == b'\n' && self.is_after_return;
                self.is_after_return = byte == b'\r';
                if !is_second_half {
                    bytes[n_kept] = if self.is_after_return { b'\n' } else { byte };
                    n_kept += 1;
                }
            }
            if n_kept > 0 || n_read == 0 {
                return Ok(n_kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_one_way_wherever_an_end_is_cut_in_two() {
        for end in ["\n", "\r\n", "\r"] {
            let file = "a,b\n\nc,\"d\ne\"\nf".replace('\n', end);
            for n_bytes in [1, 2, 3, 64] {
                let pieces = file.as_bytes().chunks(n_bytes);
                let pieces = pieces.map(|piece| Box::new(piece) as Box<dyn Read>);
                let pieces = pieces.reduce(|all, next| Box::new(all.chain(next)));
                let mut text = String::new();
                let mut lines = PlainLines::of(pieces.expect("there is something"));
                lines.read_to_string(&mut text).expect("memory can be read");
                assert_eq!(text, "a,b\n\nc,\"d\ne\"\nf", "{end:?}, {n_bytes}");
            }
        }
    }
}
