use rustls::{ClientConnection, HandshakeKind, crypto::aws_lc_rs::ALL_CIPHER_SUITES};

use super::*;
use crate::tls::{
    TicketSecrets,
    test_peer::{
        SelfSigned, client_config, connect, feed, sealed_by, serve, server_config, server_tls,
    },
};

fn tickets() -> TicketSecrets {
    let tickets = TicketSecrets::default();
    tickets.set_local();
    tickets
}

/// Our server's side of a connection of TLS 1.3, and a client.
fn served() -> (Session, ClientConnection) {
    let certificate = SelfSigned::new(crate::tls::test_peer::NAME);
    let tls = server_tls(&certificate, &tickets());
    let (established, client) = serve(&tls, client_config(&certificate, &[]));
    (established.session, client)
}

/// Opens all of `bytes`, and returns the data.
fn open_all(session: &mut Session, mut bytes: &mut [u8]) -> Result<Vec<u8>, RecordError> {
    let mut data = Vec::new();
    loop {
        match session.open(bytes)? {
            Opened::Incomplete => {
                assert!(bytes.is_empty());
                return Ok(data);
            }
            Opened::Data { consumed, plain } => {
                data.extend_from_slice(&bytes[plain]);
                bytes = &mut bytes[consumed..];
            }
            Opened::Handled { consumed } => bytes = &mut bytes[consumed..],
            Opened::End => return Ok(data),
        }
    }
}

fn sealed(session: &mut Session, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![0; Session::room(length)];
    let written = session.seal(parts, &mut out).unwrap();
    out.truncate(written);
    out
}

#[test]
fn every_cipher_of_both_versions_is_what_rustls_speaks() {
    let certificate = SelfSigned::new(crate::tls::test_peer::NAME);
    let tls = server_tls(&certificate, &tickets());
    let mut tried = 0;
    for suite in ALL_CIPHER_SUITES {
        // The certificate has an ECDSA key.
        if format!("{:?}", suite.suite()).contains("_RSA_") {
            continue;
        }
        tried += 1;
        let (established, mut client) = serve(&tls, client_config(&certificate, &[*suite]));
        assert_eq!(established.facts.suite, suite.suite());
        let mut session = established.session;
        let long: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        for _ in 0..2 {
            let mut bytes = sealed(&mut session, &[b"head", b"", &long[..3], b"end"]);
            let data = feed(&mut client, &mut bytes);
            assert_eq!(data, [b"head".as_slice(), &long[..3], b"end"].concat());
            let mut bytes = sealed(&mut session, &[&long[..20_000], b"-", &long]);
            let data = feed(&mut client, &mut bytes);
            assert_eq!(data, [&long[..20_000], b"-", &long].concat());
            let mut bytes = sealed_by(&mut client, &long[..60_000]);
            assert_eq!(open_all(&mut session, &mut bytes).unwrap(), &long[..60_000]);
        }
        let mut out = [0; 64];
        let written = session.close_notify(&mut out).unwrap();
        client.read_tls(&mut &out[..written]).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        client.send_close_notify();
        let mut bytes = sealed_by(&mut client, b"");
        assert_eq!(session.open(&mut bytes), Ok(Opened::End));
    }
    assert_eq!(tried, 6);
}

#[test]
fn a_new_key_of_either_side_is_followed() {
    let (mut session, mut client) = served();
    for round in 0..3 {
        client.refresh_traffic_keys().unwrap();
        let mut bytes = sealed_by(&mut client, b"behind the new key");
        assert_eq!(
            open_all(&mut session, &mut bytes).unwrap(),
            b"behind the new key"
        );
        // The client asked for ours.
        assert!(session.owes_key_update);
        let mut bytes = sealed(&mut session, &[b"behind ours"]);
        assert!(!session.owes_key_update);
        assert_eq!(feed(&mut client, &mut bytes), b"behind ours", "{round}");
    }
    session.send.limit_to(10);
    let before = session.send.is_exhausted_within(64);
    let mut bytes = sealed(&mut session, &[b"soon exhausted"]);
    assert!(before && !session.send.is_exhausted_within(64));
    assert_eq!(feed(&mut client, &mut bytes), b"soon exhausted");
}

#[test]
fn an_exhausted_key_seals_nothing_more_in_tls_1_2() {
    let certificate = SelfSigned::new(crate::tls::test_peer::NAME);
    let suites = ALL_CIPHER_SUITES.iter().copied();
    let suites: Vec<_> = suites.filter(|suite| suite.tls13().is_none()).collect();
    let tls = server_tls(&certificate, &tickets());
    let (established, _client) = serve(&tls, client_config(&certificate, &suites));
    let mut session = established.session;
    session.send.limit_to(1);
    sealed(&mut session, &[b"last"]);
    let mut out = vec![0; Session::room(1)];
    assert_eq!(
        session.seal(&[b"x"], &mut out),
        Err(RecordError::KeyExhausted)
    );
}

#[test]
fn what_was_changed_on_the_way_is_refused() {
    let (mut session, mut client) = served();
    let bytes = sealed_by(&mut client, b"request");
    for at in 0..Header::LENGTH {
        assert!(session.open(&mut bytes[..at].to_vec()) == Ok(Opened::Incomplete));
    }
    assert_eq!(
        session.open(&mut bytes[..bytes.len() - 1].to_vec()),
        Ok(Opened::Incomplete)
    );
    for at in Header::LENGTH..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(
            session.open(&mut changed),
            Err(RecordError::BadRecord),
            "{at}"
        );
    }
    // A record that is sent twice is not what its number says.
    assert_eq!(
        open_all(&mut session, &mut bytes.clone()).unwrap(),
        b"request"
    );
    assert_eq!(
        session.open(&mut bytes.clone()),
        Err(RecordError::BadRecord)
    );
}

#[test]
fn records_without_data_are_bounded() {
    let (mut session, mut client) = served();
    for _ in 0..MOST_WITHOUT_DATA {
        client.refresh_traffic_keys().unwrap();
        let mut bytes = sealed_by(&mut client, b"");
        assert_eq!(open_all(&mut session, &mut bytes).unwrap(), b"");
    }
    client.refresh_traffic_keys().unwrap();
    let mut bytes = sealed_by(&mut client, b"");
    assert_eq!(open_all(&mut session, &mut bytes), Err(RecordError::Flood));
}

#[test]
fn tickets_of_a_server_are_kept_for_the_next_connection() {
    let certificate = SelfSigned::new(crate::tls::test_peer::NAME);
    let (config, server) = (
        client_config(&certificate, &[]),
        server_config(&certificate),
    );
    let (established, _, mut behind) = connect(config.clone(), server.clone());
    assert!(!established.facts.is_resumed && !behind.is_empty());
    let mut session = established.session;
    assert_eq!(open_all(&mut session, &mut behind).unwrap(), b"");
    let (established, server, _) = connect(config, server);
    assert!(established.facts.is_resumed);
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn alerts_end_a_side_or_the_connection() {
    assert_eq!(on_alert(&[1, 0]), Ok(true));
    assert_eq!(on_alert(&[1, 90]), Ok(false));
    assert_eq!(on_alert(&[1, 100]), Ok(false));
    assert_eq!(on_alert(&[2, 100]), Err(RecordError::Alert(100)));
    assert_eq!(on_alert(&[2, 20]), Err(RecordError::Alert(20)));
    assert_eq!(on_alert(&[1]), Err(RecordError::UnexpectedMessage));
}

#[test]
fn a_session_that_every_node_can_open_is_resumed() {
    let certificate = SelfSigned::new(crate::tls::test_peer::NAME);
    let secrets = tickets();
    let (node, other) = (
        server_tls(&certificate, &secrets),
        server_tls(&certificate, &secrets),
    );
    let config = client_config(&certificate, &[]);
    let (first, _client) = serve(&node, config.clone());
    let (second, _client) = serve(&other, config.clone());
    assert_eq!(
        (first.facts.is_resumed, second.facts.is_resumed),
        (false, true)
    );
    let stranger = server_tls(&certificate, &tickets());
    let (third, _client) = serve(&stranger, config);
    assert!(!third.facts.is_resumed);
}
