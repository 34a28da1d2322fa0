//! How a target is run. In a plain test: its seeds, what was found before, and so many mutants of them, all told by a fixed
//! number, so that a failure comes again. Under a fuzzer: what the fuzzer comes up with.

/// A fuzz target: a name, how many mutants a plain test tries, seeds, and what must hold for any bytes.
macro_rules! target {
    ($(#[$doc:meta])* $name:ident, $mutants:expr, $seeds:expr, $property:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            #[cfg(fuzzing)]
            bolero::check!().with_max_len(64 * 1024).for_each(|bytes: &[u8]| $property(bytes));
            #[cfg(not(fuzzing))]
            $crate::target::run(concat!(module_path!(), "::", stringify!($name)), $mutants, $seeds, |bytes| $property(bytes));
        }
    };
}

#[cfg(not(fuzzing))]
pub use plain::run;

#[cfg(not(fuzzing))]
mod plain {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// Pieces that parsers trip over.
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b"null",
        b"true",
        b"1e999",
        b"-1",
        b"0",
        b"18446744073709551616",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\xc3",
        b"\0",
        b"\n",
        b"\r\n",
        b"\x1b[2J",
        b",",
        b":",
        b".",
        b"*",
        b"==",
        b"%2F",
        b"/",
        b"@",
        b"canary-key\"\\<1>",
        b"canary-token.1.2",
        "\u{202e}".as_bytes(),
        "\u{200b}".as_bytes(),
        "\u{e0041}".as_bytes(),
        "\u{2028}".as_bytes(),
        "\u{ad}".as_bytes(),
        "ß".as_bytes(),
        "🦀".as_bytes(),
        b"\"id\"",
        b"[[[[[[[[[[[[[[[[",
        b"9999-12-31T23:59:59Z",
        b"-009999-01-01T00:00:00Z",
        b"Thu, 01 Jan 1970 00:00:00 GMT",
    ];

    /// Runs the property on the seeds, on what a fuzzer found before, and on mutants of both.
    pub fn run(name: &str, mutants: u32, seeds: &[&[u8]], property: impl Fn(&[u8])) {
        let mut inputs: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
        inputs.extend(found_before(name));
        for input in &inputs {
            check(&property, input);
        }
        let number = name.bytes().fold(7_u64, |number, byte| number.wrapping_mul(31).wrapping_add(byte.into()));
        let mut dice = StdRng::seed_from_u64(number);
        for _ in 0..mutants {
            check(&property, &mutant(&inputs, &mut dice));
        }
    }

    fn check(property: &impl Fn(&[u8]), input: &[u8]) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| property(input))) {
            eprintln!("the input was b\"{}\"", input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }

    /// The inputs that are kept for the target, in the order of their names.
    fn found_before(name: &str) -> Vec<Vec<u8>> {
        let target = name.split_once("::").map_or(name, |(_, target)| target).replace("::", "__");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/__fuzz__").join(target).join("crashes");
        let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    fn mutant(inputs: &[Vec<u8>], dice: &mut StdRng) -> Vec<u8> {
        let mut bytes = inputs[dice.random_range(0..inputs.len())].clone();
        for _ in 0..dice.random_range(1..6) {
            let at = dice.random_range(0..=bytes.len());
            let end = dice.random_range(at..=bytes.len().min(at + 16));
            match dice.random_range(0..7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..end, PIECES[dice.random_range(0..PIECES.len())].iter().copied())),
                2 => drop(bytes.splice(at..at, PIECES[dice.random_range(0..PIECES.len())].iter().copied())),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let again = bytes[at..end].repeat(dice.random_range(1..40));
                    bytes.splice(at..at, again);
                }
                5 => {
                    let other = &inputs[dice.random_range(0..inputs.len())];
                    let from = dice.random_range(0..=other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.random()),
            }
        }
        bytes
    }
}
