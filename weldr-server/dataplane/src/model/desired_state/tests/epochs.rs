//! The secrets of session tickets are rotated, and nothing else brings one back.

use super::*;
use crate::model::{Sealed, SecretEpochs, Target};

fn sealed(byte: u8) -> Sealed {
    Sealed::new("0123456789abcdef".parse().unwrap(), [byte; 60]).unwrap()
}

fn rotate(after: u64, byte: u8) -> Command {
    Command::RotateTickets {
        after,
        secret: sealed(byte),
    }
}

fn target(secrets: &SecretEpochs) -> Target {
    Target {
        ticket_epochs: secrets.clone(),
        ..Target::default()
    }
}

#[test]
fn a_rotation_is_a_change_and_a_second_one_after_the_same_epoch_is_none() {
    let mut state = after([]);
    assert_eq!(applied(&mut state, rotate(0, 1)), (Outcome::Changed, 1));
    assert_eq!(applied(&mut state, rotate(0, 2)), (Outcome::Unchanged, 1));
    assert_eq!(applied(&mut state, rotate(1, 3)), (Outcome::Changed, 2));
    let newest = state.ticket_epochs.newest().unwrap();
    assert_eq!((newest.number, &newest.secret), (2, &sealed(3)));
}

#[test]
fn a_restore_takes_secrets_only_where_there_are_none() {
    let from = after([rotate(0, 1), rotate(1, 2)]);
    let mut new = after([]);
    let restored = new.bring_back(target(&from.ticket_epochs), Timestamp(9));
    assert_eq!(restored.unwrap().outcome, Outcome::Changed);
    assert_eq!(new.ticket_epochs, from.ticket_epochs);
    assert_eq!(new.revision, Revision(1));
    // It goes on from there.
    assert_eq!(applied(&mut new, rotate(2, 3)), (Outcome::Changed, 2));

    let mut other = after([rotate(0, 7)]);
    let before = other.clone();
    for secrets in [
        SecretEpochs::clone(&from.ticket_epochs),
        SecretEpochs::default(),
    ] {
        let restored = other.bring_back(target(&secrets), Timestamp(9));
        assert_eq!(restored.unwrap().outcome, Outcome::Unchanged);
        assert_eq!(other, before);
    }
}
