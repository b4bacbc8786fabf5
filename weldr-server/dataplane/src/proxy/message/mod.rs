//! What a message means from end to end, whatever protocol carries it.

mod request_facts;

pub(super) use request_facts::RequestFacts;
