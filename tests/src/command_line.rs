//! What the command lines of the two simulations have in common.

use clap::Args;
use cotter_types::mutation::Mutation;
use std::ops::Range;

/// Which seeds are run.
#[derive(Clone, Debug, Args)]
pub struct Seeds {
    /// Run this seed.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "seeds",
        required_unless_present = "seeds"
    )]
    pub seed: Option<u64>,
    /// Run these seeds, the last one not included.
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub seeds: Option<Range<u64>>,
    /// Print what happens; only with --seed.
    #[arg(long, conflicts_with = "seeds")]
    pub trace: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, last) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(first)?..number(last)?;
    if range.is_empty() {
        return Err("the range is empty".to_owned());
    }
    Ok(range)
}

/// Finds a bug that can be planted by its name.
///
/// # Errors
/// There is none of that name, or this build has no feature `mutations` and can plant none.
pub fn planted_bug(name: &str) -> Result<Mutation, String> {
    if cfg!(not(feature = "mutations")) {
        return Err(format!(
            "cannot plant {name}: build with --features mutations"
        ));
    }
    let mut all = Mutation::ALL.into_iter();
    all.find(|bug| format!("{bug:?}") == name).ok_or_else(|| {
        let all: Vec<String> = Mutation::ALL.iter().map(|bug| format!("{bug:?}")).collect();
        format!("there is no mutation {name}; there are {}", all.join(", "))
    })
}
