//! Tests with hostile messages: every renderer ends, whatever they contain.

use super::{
    further::{further_schema_message, with_further},
    *,
};

/// Pseudo-random numbers, the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    fn small(&mut self, len: usize) -> Vec<u32> {
        (0..self.below(len)).map(|_| self.below(8) as u32).collect()
    }

    fn large(&mut self) -> Vec<u64> {
        let edges = [0, 1, 4095, u64::MAX, u64::MAX / 2, 1 << 63, 1 << 31];
        (0..self.below(5))
            .map(|_| edges[self.below(edges.len())])
            .collect()
    }

    fn values(&mut self) -> Values {
        let (mut ends, wild) = (self.small(4), self.below(2) == 0);
        if !wild {
            ends.sort_unstable();
        }
        let len = match wild {
            true => self.below(9),
            false => ends.last().map_or(0, |end| *end as usize),
        };
        match self.below(5) {
            0 => unsigned(&self.large()),
            1 => Values::Signed(v1::Signed {
                values: self.large().iter().map(|n| n.cast_signed()).collect(),
            }),
            2 => bytes(&ends, &vec![0x1b; len], &self.small(3)),
            3 => lists(&ends, &vec![u64::MAX; len]),
            _ => stacks(&ends, &vec![self.below(3) as u32; len]),
        }
    }
}

#[test]
fn no_batch_panics_whatever_is_in_it() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut taken = 0;
    for round in 0..20_000 {
        let table = round % 2 == 0;
        let mut follow = follow(table);
        let mut batch = good_batch();
        // Most columns stay as they should be: else hardly any batch would come through.
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(batch.columns.len());
            batch.columns[at].values = Some(numbers.values());
        }
        let mut out = VecDeque::new();
        let late = Duration::from_secs(5);
        if follow
            .take(message(1, Item::Batch(batch)), late, &mut out)
            .is_ok()
        {
            taken += 1;
            show(&follow, &out);
        }
    }
    assert!(taken > 20, "{taken} came through");
}

#[test]
fn no_message_panics_whatever_became_of_its_bytes() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let account = v1::Account {
        produced: 3,
        delivered: 2,
        lost: vec![v1::Stage {
            name: "busy".to_owned(),
            events: 1,
        }],
        elapsed: prost_types::Duration::try_from(Duration::from_secs(3)).ok(),
        cost: Some(v1::Cost::default()),
        ended: "duration".to_owned(),
        ..v1::Account::default()
    };
    let mut seeds = vec![
        message(1, Item::Batch(good_batch())),
        message(2, Item::Account(account)),
        message(3, Item::Gap(v1::Gap::default())),
    ];
    seeds.push(message(0, Item::Schema(schema_message(true))));
    seeds.push(message(0, Item::Schema(further_schema_message())));
    seeds.push(message(
        4,
        Item::Further(v1::Further {
            dataset: 0,
            batch: Some(good_batch()),
        }),
    ));
    let mut taken = 0;
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].encode_to_vec();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(bytes.len());
            bytes[at] = numbers.below(256) as u8;
        }
        let Ok(message) = StreamEventsResponse::decode(bytes.as_slice()) else {
            continue;
        };
        if let Some(Item::Schema(received)) = message.item {
            // What it leaks is bounded by the rounds.
            drop(Schema::read(received, tracer()));
            continue;
        }
        let mut follow = match round % 12 / 4 {
            0 => follow(true),
            1 => follow(false),
            _ => with_further(),
        };
        let mut out = VecDeque::new();
        if follow
            .take(message, Duration::from_secs(5), &mut out)
            .is_ok()
        {
            taken += 1;
            if taken % 20 == 0 {
                show(&follow, &out);
            }
        }
    }
    assert!(taken > 20, "{taken} came through");
}
