//! The messages of the handshake protocol that come behind a handshake (RFC 8446, section 4.6). Pure.

use super::error::RecordError;

/// Most bytes of a message: a session ticket of the largest size.
const MOST: usize = 64 * 1024 + 512;

/// A message behind the handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'m> {
    /// The peer protects what follows with its next key.
    KeyUpdate {
        /// Whether it asks for the same.
        is_requested: bool,
    },
    /// A ticket to resume the session with, without the header of the message.
    NewSessionTicket(&'m [u8]),
    /// The peer of a connection of TLS 1.2 wants another handshake.
    Renegotiation,
}

/// Messages that may come in several records, or several in one.
#[derive(Debug, Default)]
pub(super) struct PostHandshake {
    /// The begin of a message that is not complete.
    partial: Vec<u8>,
}

impl PostHandshake {
    /// Whether a message has begun that is not complete. Nothing else may come before its end.
    pub(super) fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Adds the content of a record.
    pub(super) fn push(&mut self, content: &[u8]) -> Result<(), RecordError> {
        if content.is_empty() {
            return Err(RecordError::UnexpectedMessage);
        }
        if self.partial.len() + content.len() > MOST {
            return Err(RecordError::TooLong);
        }
        self.partial.extend_from_slice(content);
        Ok(())
    }

    /// Takes the next complete message and gives it to `handle`; `None`: there is none.
    pub(super) fn next<T>(
        &mut self,
        handle: impl FnOnce(Message<'_>) -> Result<T, RecordError>,
    ) -> Option<Result<T, RecordError>> {
        let &[kind, high, middle, low] = self.partial.first_chunk()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let end = 4 + length;
        if end > MOST {
            return Some(Err(RecordError::TooLong));
        }
        let payload = self.partial.get(4..end)?;
        let is_last = self.partial.len() == end;
        let message = match (kind, payload) {
            // The key changes behind it, so nothing may follow in its record (RFC 8446, section 5.1).
            (24, [0 | 1]) if !is_last => return Some(Err(RecordError::UnexpectedMessage)),
            (24, [requested @ (0 | 1)]) => Message::KeyUpdate {
                is_requested: *requested == 1,
            },
            (4, ticket) => Message::NewSessionTicket(ticket),
            (0, []) | (1, _) => Message::Renegotiation,
            _ => return Some(Err(RecordError::UnexpectedMessage)),
        };
        let handled = handle(message);
        self.partial.drain(..end);
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Some(handled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes each of `records`, and returns what came of each.
    fn read(records: &[&[u8]]) -> Vec<Result<String, RecordError>> {
        let mut messages = PostHandshake::default();
        let mut seen = Vec::new();
        for record in records {
            if let Err(error) = messages.push(record) {
                seen.push(Err(error));
                return seen;
            }
            while let Some(message) = messages.next(|message| Ok(format!("{message:?}"))) {
                let failed = message.is_err();
                seen.push(message);
                if failed {
                    return seen;
                }
            }
        }
        if messages.is_partial() {
            seen.push(Ok("partial".to_owned()));
        }
        seen
    }

    #[test]
    fn messages_come_whole_in_parts_and_together() {
        let update = |requested| Ok(format!("KeyUpdate {{ is_requested: {requested} }}"));
        let ticket = || Ok("NewSessionTicket([7, 8])".to_owned());
        assert_eq!(read(&[&[24, 0, 0, 1, 0]]), [update(false)]);
        assert_eq!(read(&[&[24, 0, 0, 1, 1]]), [update(true)]);
        assert_eq!(read(&[&[4, 0, 0, 2, 7], &[8]]), [ticket()]);
        let both = [4, 0, 0, 2, 7, 8, 4, 0, 0, 2, 7, 8];
        assert_eq!(read(&[&both]), [ticket(), ticket()]);
        assert_eq!(read(&[&[4, 0]]), [Ok("partial".to_owned())]);
        assert_eq!(read(&[&[0, 0, 0, 0]]), [Ok("Renegotiation".to_owned())]);
    }

    #[test]
    fn what_may_not_come_is_refused() {
        let unexpected = [Err(RecordError::UnexpectedMessage)];
        for record in [
            &[24, 0, 0, 1, 2][..],
            &[24, 0, 0, 2, 0, 0],
            &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0],
            &[11, 0, 0, 0],
            &[],
        ] {
            assert_eq!(read(&[record]), unexpected, "{record:?}");
        }
        assert_eq!(read(&[&[4, 2, 0, 0]]), [Err(RecordError::TooLong)]);
    }
}
