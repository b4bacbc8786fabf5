//! The response to a check: what is read of it, and what is found in it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Failure;
use crate::{
    http1::{
        BodyBegin, Field, MOST_INTERIM, ResponseFraming, ResponseRules, end_of_response_head,
        read_response,
    },
    model::{CheckMethod, HttpCheck},
};

/// Room for most heads; a longer one grows, up to the limit of a head.
const HEAD: usize = 1024;

/// The response to one check, as far as it has come.
pub(super) struct Response {
    is_to_head: bool,
    /// What has come of the heads and, after the final one, of the body.
    buffer: Vec<u8>,
    /// Bytes of the next head that were searched for its end.
    searched: usize,
    interims: u32,
    fields: Vec<Field>,
}

/// What the head of the final response says.
pub(super) struct FinalHead {
    pub(super) status: u16,
    pub(super) framing: ResponseFraming,
}

impl Response {
    /// Nothing has come yet.
    pub(super) fn of(check: &HttpCheck) -> Self {
        Self {
            is_to_head: check.method == CheckMethod::Head,
            buffer: Vec::with_capacity(HEAD),
            searched: 0,
            interims: 0,
            fields: Vec::new(),
        }
    }

    /// Reads the head of the final response. What has come of the body shows what clients would get.
    pub(super) async fn read_head(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        rules: ResponseRules,
    ) -> Result<FinalHead, Failure> {
        loop {
            if let Some(head) = self.take_head(rules)? {
                BodyBegin::decode(&self.buffer, head.framing, rules.strictness)
                    .map_err(Failure::invalid_response)?;
                return Ok(head);
            }
            if self.read(stream).await? == 0 {
                return Err(Failure::from_io(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Takes heads out of the buffer, up to the final one.
    fn take_head(&mut self, rules: ResponseRules) -> Result<Option<FinalHead>, Failure> {
        while let Some(end) = end_of_response_head(&self.buffer, &mut self.searched, rules.limits)
            .map_err(Failure::invalid_response)?
        {
            let head = &self.buffer[..end];
            let response = read_response(head, self.is_to_head, rules, &mut self.fields)
                .map_err(Failure::invalid_response)?;
            let (line, framing) = (response.line, response.framing);
            self.buffer.drain(..end);
            self.searched = 0;
            if !line.is_interim() {
                let status = line.status;
                return Ok(Some(FinalHead { status, framing }));
            }
            self.interims += 1;
            if self.interims > MOST_INTERIM {
                let why = format!("more than {MOST_INTERIM} interim responses");
                return Err(Failure::invalid_response(why));
            }
        }
        Ok(None)
    }

    /// Reads the body until it contains `text`, or its end or the longest part that is searched has come.
    pub(super) async fn search_body(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        rules: ResponseRules,
        framing: ResponseFraming,
        text: &[u8],
    ) -> Result<(), Failure> {
        let mut has_ended = false;
        loop {
            let mut body = BodyBegin::decode(&self.buffer, framing, rules.strictness)
                .map_err(Failure::invalid_response)?;
            body.data.truncate(HttpCheck::SEARCHED_BODY);
            if body.data.windows(text.len()).any(|window| window == text) {
                return Ok(());
            }
            // Framing may be longer than the data.
            let has_all = body.data.len() == HttpCheck::SEARCHED_BODY
                || self.buffer.len() > 8 * HttpCheck::SEARCHED_BODY;
            if body.is_whole || has_all || has_ended {
                return Err(Failure::body());
            }
            self.buffer.reserve(HttpCheck::SEARCHED_BODY / 4);
            has_ended = self.read(stream).await? == 0;
        }
    }

    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, Failure> {
        let read = stream.read_buf(&mut self.buffer).await;
        read.map_err(|error| Failure::from_io(&error))
    }
}
