//! Tests of gaps, intervals of tables, and streams that end early.

use super::*;

#[test]
fn missing_messages_are_reported_also_without_a_gap_message() {
    let rows = |sequence| message(sequence, Item::Batch(good_batch()));
    let gap = |first, last, rows| {
        message(
            0,
            Item::Gap(v1::Gap {
                first_sequence: first,
                last_sequence: last,
                rows,
            }),
        )
    };
    let beside = |messages: Vec<StreamEventsResponse>, table: bool| {
        let mut follow = follow(table);
        for message in messages {
            follow
                .take(message, Duration::ZERO, &mut VecDeque::new())
                .unwrap();
        }
        follow.beside.gaps.map(|gaps| (gaps.count, gaps.rows))
    };
    assert_eq!(beside(vec![rows(1), rows(2)], false), None);
    let reply = vec![
        rows(1),
        gap(2, 4, Some(70)),
        rows(5),
        gap(6, 6, Some(5)),
        rows(7),
    ];
    assert_eq!(beside(reply, false), Some((2, Some(75))));
    assert_eq!(beside(vec![rows(1), rows(3)], false), Some((1, None)));
    let whole = vec![rows(1), gap(2, 4, Some(70)), rows(5)];
    assert_eq!(
        beside(whole, true),
        None,
        "the next table is the whole table"
    );
    let first_part = v1::Batch {
        more: true,
        ..good_batch()
    };
    let first_part = |sequence| message(sequence, Item::Batch(first_part.clone()));
    let over = |sequence| message(sequence, Item::Account(v1::Account::default()));
    let whole = vec![first_part(1), gap(2, 3, None), rows(4), over(5)];
    assert_eq!(beside(whole, true), None);
    // The last table, or a part of it: nothing replaces it.
    for cut in [
        vec![rows(1), first_part(2), gap(3, 3, None), over(4)],
        vec![rows(1), gap(2, 3, Some(7)), over(4)],
        vec![rows(1), first_part(2), over(3)],
    ] {
        assert_eq!(beside(cut, true), Some((1, None)));
    }
    let last = vec![gap(1, u64::MAX, None), rows(u64::MAX)];
    assert_eq!(beside(last, false), Some((1, None)));
}

#[test]
fn tables_arrive_at_the_requested_interval_and_the_last_one_always() {
    let mut follow = Follow::new(
        Schema::read(schema_message(true), tracer()).unwrap(),
        Duration::from_secs(3),
    );
    let mut reply = Vec::new();
    for second in 1..=7 {
        let mut out = VecDeque::new();
        // A little early, as an agent's clock may be.
        let elapsed = Duration::from_millis(second * 1000 - 20);
        follow
            .take(
                message(second, Item::Batch(good_batch())),
                elapsed,
                &mut out,
            )
            .unwrap();
        if matches!(out.pop_front(), Some(Update::Table(_))) {
            reply.push(second);
        }
    }
    assert_eq!(reply, [3, 6]);
    let mut out = VecDeque::new();
    let account = message(8, Item::Account(v1::Account::default()));
    follow
        .take(account, Duration::from_secs(8), &mut out)
        .unwrap();
    assert!(matches!(out[0], Update::Table(_)) && matches!(out[1], Update::Done(_)));
    let again = message(9, Item::Account(v1::Account::default()));
    assert!(
        follow.take(again, Duration::ZERO, &mut out).is_err(),
        "nothing follows the account"
    );
}

#[test]
fn rows_before_the_agents_end_are_shown_as_partial() {
    let mut follow = follow(false);
    let mut out = VecDeque::new();
    let lost = v1::Lost {
        stages: vec![v1::Stage {
            name: "ring_full".to_owned(),
            events: 7,
        }],
        missed_runs: 0,
    };
    follow
        .take(
            message(1, Item::Batch(good_batch())),
            Duration::ZERO,
            &mut out,
        )
        .unwrap();
    follow
        .take(message(2, Item::Lost(lost)), Duration::ZERO, &mut out)
        .unwrap();
    assert!(matches!(&out[1], Update::Progress(account) if account.lost.ring_full == 7));
    let (account, _) = follow.cut_off(Duration::from_secs(3));
    insta::assert_snapshot!(account_text(&account, crate::show::account::Rows::of(2, None), &follow.beside), @r"
    2 rows, PARTIAL: at least 9 produced, 2 delivered, 7 lost (7 ring full) in 3.0 s. No account was received, so the cost is unknown.
    Ring full: a larger ring (`--ring 8MiB`) or a narrower selection keeps up.
    ");
    let json = account_json(&account, &follow.beside);
    assert_eq!(json["account"]["ended"], "agent_gone");
    assert_eq!(json["account"]["complete"], false);
}
