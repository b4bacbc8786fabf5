//! The ACME account, for people.

use std::fmt::Write as _;

use weldr_proto::v1::AcmeAccount;

use super::{
    figures,
    style::{Paint, Tint},
};

/// All details of the account.
pub(crate) fn card(account: &AcmeAccount, paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{name:<18}{value}");
    };
    let or_none = |value: &str| match value {
        "" => figures::NONE.to_owned(),
        value => value.to_owned(),
    };
    line("directory", account.directory.clone());
    line("contacts", or_none(&account.contacts.join(", ")));
    line("challenge", account.challenge.clone());
    line("external account", or_none(&account.external_key_id));
    let authorities = if account.ca.is_empty() {
        "those of the system"
    } else {
        "given"
    };
    line("authorities", authorities.to_owned());
    let registered = match account.url.as_str() {
        "" => "not yet".to_owned(),
        url => url.to_owned(),
    };
    line("registered", registered);
    if !account.last_error.is_empty() {
        let error = paint.text(&account.last_error, Some(Tint::Bad));
        let again = account.retry_at.map(figures::instant);
        line("last error", error);
        line("tried again", again.unwrap_or_default());
    }
    line("revision", account.revision.to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_could_not_be_registered_says_why_and_when_it_is_tried_again() {
        let account = AcmeAccount {
            directory: "https://ca.example/dir".to_owned(),
            challenge: "auto".to_owned(),
            last_error: "contact is invalid (malformed)".to_owned(),
            retry_at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 0,
            }),
            revision: 7,
            ..AcmeAccount::default()
        };
        assert_eq!(
            card(&account, Paint::PLAIN),
            "\
directory         https://ca.example/dir
contacts          -
challenge         auto
external account  -
authorities       those of the system
registered        not yet
last error        contact is invalid (malformed)
tried again       2027-01-15T08:00:00.000Z
revision          7
"
        );
    }
}
