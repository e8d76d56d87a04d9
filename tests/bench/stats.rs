//! Numbers of many rounds: their median, and how sure it is.

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// A median with the interval in which it lies in 95 of 100 repetitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// By the bootstrap: medians of as many values drawn anew, a thousand times, by a generator that always starts alike.
pub(crate) fn estimate(values: &[f64]) -> Estimate {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut medians: Vec<f64> = (0..1000)
        .map(|_| {
            let drawn: Vec<f64> = (0..values.len())
                .map(|_| {
                    // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
                    state ^= state >> 12;
                    state ^= state << 25;
                    state ^= state >> 27;
                    let number = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
                    values[number as usize % values.len()]
                })
                .collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Estimate {
        median: median(values),
        low: medians[25],
        high: medians[974],
    }
}
