//! Changes of a case, at random from a seed.

use fastrand::Rng;

/// What attackers put where it does not belong.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\"",
    "\r\n\r\n",
    "\n\n",
    "\r\n ",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 6\r\n",
    "content-length:5\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, Content-Length\r\n",
    "Connection: Host\r\n",
    "Host: a\r\n",
    "Host: b\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "Trailer: X\r\n",
    "Upgrade: websocket\r\n",
    "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "FFFFFFFFFFFFFFFF",
    "18446744073709551616",
    "-1",
    "+5",
    "0x5",
    "\u{e9}",
    "\u{7f}",
    "x-y: z\r\n",
    "Max-Forwards: 0\r\n",
];

/// Draws cases from a corpus and changes them.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    /// Of `corpus`, from `seed`.
    ///
    /// # Panics
    /// Without a corpus.
    pub fn new(corpus: Vec<Vec<u8>>, seed: u64) -> Self {
        assert!(!corpus.is_empty(), "nothing to change");
        Self {
            rng: Rng::with_seed(seed),
            corpus,
        }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.rng.usize(..end.max(1))
    }

    /// A case as it is in the corpus.
    pub fn pick(&mut self) -> Vec<u8> {
        let index = self.below(self.corpus.len());
        self.corpus[index].clone()
    }

    /// A case with up to four changes.
    pub fn changed(&mut self) -> Vec<u8> {
        let mut bytes = self.pick();
        for _ in 0..self.below(5) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let range = at..(at + self.below(12)).min(bytes.len());
        match self.below(9) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(range)),
            2 => {
                let again = bytes[range].to_vec();
                insert(bytes, at, &again);
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            4 if at < bytes.len() => bytes[at] = self.rng.u8(..),
            5 => self.change_digit(bytes),
            6 => {
                let other = self.pick();
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            7 => self.change_line(bytes),
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                insert(bytes, at, word.as_bytes());
            }
        }
    }

    fn change_digit(&mut self, bytes: &mut [u8]) {
        let is_digit = |&at: &usize| bytes[at].is_ascii_hexdigit();
        let digits: Vec<_> = (0..bytes.len()).filter(is_digit).collect();
        if !digits.is_empty() {
            let at = digits[self.below(digits.len())];
            bytes[at] = b"0123456789abcdefABCDEFg"[self.below(23)];
        }
    }

    /// Puts a line of ours, or one of its own once more, before a line.
    fn change_line(&mut self, bytes: &mut Vec<u8>) {
        let ends: Vec<_> = (1..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
        if ends.is_empty() {
            return;
        }
        let at = ends[self.below(ends.len())] + 1;
        let word = if self.below(2) == 0 {
            WORDS[self.below(WORDS.len())].as_bytes().to_vec()
        } else {
            let last = self.below(ends.len());
            let start = if last == 0 { 0 } else { ends[last - 1] + 1 };
            bytes[start..=ends[last]].to_vec()
        };
        insert(bytes, at, &word);
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, more: &[u8]) {
    bytes.splice(at..at, more.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_cases() {
        let mut same = [7, 7, 8].map(|seed| Mutator::new(super::super::corpus_of_requests(), seed));
        let drawn = same.each_mut().map(|mutator| {
            let cases: Vec<_> = (0..200).map(|_| mutator.changed()).collect();
            cases
        });
        assert_eq!(drawn[0], drawn[1]);
        assert_ne!(drawn[0], drawn[2]);
    }
}
