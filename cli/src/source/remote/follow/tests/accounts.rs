//! Tests of valid and invalid accounts.

use super::*;

#[test]
fn an_invalid_account_is_refused_and_one_of_a_newer_agent_is_shown() {
    let stage = |name: &str, events| v1::Stage {
        name: name.to_owned(),
        events,
    };
    let take = |account: v1::Account| {
        let mut follow = follow(false);
        let mut out = VecDeque::new();
        follow.take(message(1, Item::Account(account)), Duration::ZERO, &mut out)?;
        show(&follow, &out);
        match out.pop_back() {
            Some(Update::Done(account)) => Ok::<_, String>((account, follow.beside)),
            other => panic!("{other:?}"),
        }
    };
    let overflow = v1::Account {
        delivered: 1,
        lost: vec![stage("ring_full", u64::MAX)],
        ..v1::Account::default()
    };
    assert!(take(overflow).unwrap_err().contains("overflow"));
    let twice = v1::Account {
        lost: vec![stage("busy", u64::MAX), stage("busy", 1)],
        ..v1::Account::default()
    };
    assert!(take(twice).unwrap_err().contains("overflow"));
    let left_out = v1::Account {
        sampled: 7,
        ..v1::Account::default()
    };
    let (account, beside) = take(left_out).unwrap();
    assert!(
        account_text(&account, crate::show::account::Rows::of(0, None), &beside)
            .contains("do not add up")
    );
    let untraced = v1::Account {
        untraced: vec!["functions of /x\x1b[2J cannot be traced".to_owned()],
        untraced_count: 1,
        ..v1::Account::default()
    };
    let (account, beside) = take(untraced).unwrap();
    let text = account_text(&account, crate::show::account::Rows::of(0, None), &beside);
    assert!(text.contains("\nNot traced: functions of /x"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let filtered = v1::Account {
        produced: 9,
        delivered: 2,
        filtered: 7,
        complete: true,
        ..v1::Account::default()
    };
    let (account, beside) = take(filtered).unwrap();
    assert_eq!(account.filtered, 7);
    let text = account_text(&account, crate::show::account::Rows::of(2, None), &beside);
    let wanted = "2 rows, complete: 9 produced, 2 delivered, 7 filtered, 0 lost";
    assert!(text.starts_with(wanted), "{text}");
    assert!(!text.contains("do not add up"), "{text}");
    let short = v1::Account {
        produced: 20,
        delivered: 20,
        user_stacks: Some(v1::UserStacks {
            delivered: 20,
            short: 5,
            ..v1::UserStacks::default()
        }),
        ..v1::Account::default()
    };
    let (account, beside) = take(short).unwrap();
    let text = account_text(&account, crate::show::account::Rows::of(20, None), &beside);
    assert!(
        text.contains("\n25 % of user stacks have fewer than three frames"),
        "{text}"
    );
    let many = v1::Account {
        lost: (0..100).map(|n| stage(&format!("s{n}"), 1)).collect(),
        ..v1::Account::default()
    };
    assert!(take(many).unwrap_err().contains("64 stages"));
    for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (0, i32::MIN)] {
        let time = v1::Account {
            elapsed: Some(prost_types::Duration { seconds, nanos }),
            ..v1::Account::default()
        };
        assert!(take(time).unwrap_err().contains("an invalid time"));
    }

    let newer = v1::Account {
        produced: 9,
        delivered: 5,
        lost: vec![stage("ring_full", 1), stage("over\x1bflow", 3)],
        ended: "sun_set".to_owned(),
        ..v1::Account::default()
    };
    let (account, beside) = take(newer).unwrap();
    assert_eq!(beside.lost, [("over\\x1bflow".to_owned(), 3)]);
    let sentence = account_text(&account, crate::show::account::Rows::of(5, None), &beside);
    assert!(
        sentence.contains("PARTIAL") && sentence.contains("4 lost"),
        "{sentence}"
    );
    assert!(sentence.contains("End reason: sun set."), "{sentence}");
    assert!(!sentence.contains("do not add up"), "{sentence}");
    let json = account_json(&account, &beside);
    assert_eq!(json["account"]["ended"], "sun_set");
    assert_eq!(json["account"]["complete"], false);

    let other = v1::Account {
        complete: false,
        ..v1::Account::default()
    };
    let (account, beside) = take(other).unwrap();
    assert!(
        account_text(&account, crate::show::account::Rows::of(0, None), &beside)
            .contains("Use a tracejob of the agent's version")
    );
}
