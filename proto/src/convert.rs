//! Conversions between messages and values, one file for each `.proto` file, and one each for
//! queries and transactions.
//!
//! Encoding destructures its value without `..`, so that a new field must be thought about.

mod administration;
mod attach;
mod history;
mod lock;
mod locks;
mod node;
mod nodes;
mod operation;
mod query;
mod refusal;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod transaction;

/// Converts every element.
fn all<M, T>(messages: Vec<M>) -> Result<Vec<T>, T::Error>
where
    T: TryFrom<M>,
{
    messages.into_iter().map(T::try_from).collect()
}
