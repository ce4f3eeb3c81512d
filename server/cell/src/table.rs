//! A persistent, ordered table that knows its own digest.
//!
//! Cloning a table costs the same whatever its size, and a clone does not change when the original
//! does: that is how a checkpoint walks a cell that goes on living. The digest is a wrapping sum
//! over the rows, so that it is kept by subtracting a row's old item and adding its new one, and
//! does not depend on the order in which the rows came.
//!
//! It must never be changed behind the digest's back: there is no way to borrow a row mutably but
//! [`Table::update`].

use imbl::OrdMap;
use serde::Serialize;
use std::ops::RangeBounds;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Names a table in digests and checkpoints. Numbers are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Tag {
    Header = 1,
    Nodes = 2,
    Locks = 3,
    Holders = 4,
    Waiters = 5,
    Hands = 6,
    Sessions = 7,
    Ledgers = 8,
    Outcomes = 9,
    Opens = 10,
    Expiries = 11,
    Calls = 12,
}

impl Tag {
    /// Returns the table with this number, if there is one.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Header,
            2 => Self::Nodes,
            3 => Self::Locks,
            4 => Self::Holders,
            5 => Self::Waiters,
            6 => Self::Hands,
            7 => Self::Sessions,
            8 => Self::Ledgers,
            9 => Self::Outcomes,
            10 => Self::Opens,
            11 => Self::Expiries,
            12 => Self::Calls,
            _ => return None,
        })
    }
}

/// Rows of one kind, in order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Table<K: Ord + Clone, V: Clone> {
    tag: Tag,
    rows: OrdMap<K, V>,
    digest: u128,
}

impl<K: Ord + Clone + Serialize, V: Clone + Serialize> Table<K, V> {
    /// Makes an empty table.
    pub(crate) fn new(tag: Tag) -> Self {
        Self {
            tag,
            rows: OrdMap::new(),
            digest: 0,
        }
    }

    /// Returns the sum over all rows.
    pub(crate) fn digest(&self) -> u128 {
        self.digest
    }

    /// Returns the same sum, counted anew; costs a walk over the whole table.
    pub(crate) fn digest_recounted(&self) -> u128 {
        self.rows.iter().fold(0, |sum: u128, (key, value)| {
            sum.wrapping_add(item(self.tag, key, value))
        })
    }

    /// Returns the number of rows.
    pub(crate) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Returns the value at `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Tells whether there is a row at `key`.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// Puts a row in place of the one at the same key, if there is one.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let added = item(self.tag, &key, &value);
        if let Some(old) = self.rows.get(&key) {
            self.digest = self.digest.wrapping_sub(item(self.tag, &key, old));
        }
        self.digest = self.digest.wrapping_add(added);
        self.rows.insert(key, value);
    }

    /// Puts a row behind all others, with what it adds to the digest as its reader has counted it.
    pub(crate) fn push(&mut self, key: K, value: V, item: u128) {
        self.digest = self.digest.wrapping_add(item);
        self.rows.insert(key, value);
    }

    /// Returns the last key.
    pub(crate) fn last_key(&self) -> Option<&K> {
        self.rows.get_max().map(|(key, _)| key)
    }

    /// Returns which table it is.
    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    /// Takes a row away.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.digest = self.digest.wrapping_sub(item(self.tag, key, &old));
        Some(old)
    }

    /// Changes the value at `key` and returns what `change` returns; nothing if there is no row.
    pub(crate) fn update<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let value = self.rows.get_mut(key)?;
        let before = item(self.tag, key, value);
        let result = change(value);
        let after = item(self.tag, key, value);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        Some(result)
    }

    /// Returns the rows within `range`, in order.
    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.rows.range::<_, K>(range)
    }

    /// Returns all rows, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }
}

/// Returns what one row adds to a digest.
pub(crate) fn item<K: Serialize, V: Serialize>(tag: Tag, key: &K, value: &V) -> u128 {
    let bytes = postcard::to_stdvec(&(key, value)).expect("rows are made of plain data");
    item_of_bytes(tag, &bytes)
}

/// Returns what a row adds to a digest that is encoded as `bytes`, key first.
pub(crate) fn item_of_bytes(tag: Tag, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, u64::from(tag as u8))
}
