//! Chance that can be repeated.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Names the seed of a run.
const SEED: &str = "AMIGO_SEED";

/// The seed that the environment names, or another one each time; printed, so that a run can be repeated. The same seed
/// gives the same order and the same kills after the same calls, as far as processes that run side by side allow.
pub fn seed() -> u64 {
    let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    seed
}

/// Dice of a seed.
pub fn dice(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
