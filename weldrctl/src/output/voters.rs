//! What the voters that respond are enough for, as a sentence.

use weldr_proto::v1::Voters;

/// How many voters respond, and how many more may be lost, or who is missing for a majority.
pub(crate) fn sentence(voters: &Voters) -> String {
    let Voters {
        total, responding, ..
    } = voters;
    let respond = if *responding == 1 {
        "responds"
    } else {
        "respond"
    };
    let noun = if *total == 1 { "voter" } else { "voters" };
    let count = format!("{responding} of {total} {noun} {respond}");
    match missing(voters) {
        None => format!("{count}; {}", spare(voters)),
        Some(missing) => format!("{count}: {missing}"),
    }
}

/// How many of the voters that respond may be lost, if these are a majority.
pub(crate) fn may_be_lost(voters: &Voters) -> u32 {
    voters.responding.saturating_sub(voters.majority)
}

fn spare(voters: &Voters) -> String {
    let more = if voters.silent.is_empty() {
        ""
    } else {
        " more"
    };
    match may_be_lost(voters) {
        0 => format!("none{more} may be lost"),
        spare => format!("{spare}{more} may be lost"),
    }
}

/// Who is missing for a majority; `None` if nobody is.
fn missing(voters: &Voters) -> Option<String> {
    let needed = voters.majority.saturating_sub(voters.responding);
    if needed == 0 {
        return None;
    }
    let silent = voters.silent.join(", ");
    let majority = voters.majority;
    let all = usize::try_from(needed).is_ok_and(|needed| needed >= voters.silent.len());
    Some(if all {
        format!("a majority of {majority} needs {silent}")
    } else {
        format!(
            "a majority of {majority} needs {} of {silent}",
            number(needed)
        )
    })
}

fn number(number: u32) -> String {
    match number {
        1 => "one".to_owned(),
        2 => "two".to_owned(),
        3 => "three".to_owned(),
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(total: u32, silent: &[&str]) -> String {
        let missing = u32::try_from(silent.len()).unwrap();
        sentence(&Voters {
            total,
            responding: total - missing,
            majority: total / 2 + 1,
            silent: silent.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn it_says_how_many_may_be_lost_or_who_is_missing() {
        for (total, silent, sentence) in [
            (1, &[] as &[&str], "1 of 1 voter responds; none may be lost"),
            (2, &[], "2 of 2 voters respond; none may be lost"),
            (2, &["b"], "1 of 2 voters responds: a majority of 2 needs b"),
            (3, &[], "3 of 3 voters respond; 1 may be lost"),
            (3, &["c"], "2 of 3 voters respond; none more may be lost"),
            (
                3,
                &["b", "c"],
                "1 of 3 voters responds: a majority of 2 needs one of b, c",
            ),
            (5, &["e"], "4 of 5 voters respond; 1 more may be lost"),
            (
                5,
                &["b", "c", "d", "e"],
                "1 of 5 voters responds: a majority of 3 needs two of b, c, d, e",
            ),
        ] {
            assert_eq!(said(total, silent), sentence);
        }
    }
}
