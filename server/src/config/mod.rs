//! What a replica is told at its start: a TOML file, `COTTERD_*` variables, flags.
//!
//! Everything is checked here, once, before a port is bound or a file is touched; the rest of the
//! daemon sees only a [`Config`] that holds. A refusal is one line that names the key and says what
//! it may be. Every key stands, documented, in `cotterd.sample.toml`.

mod chapter;
mod command_line;
mod file;
mod history;
#[cfg(test)]
mod tests;

pub use chapter::chapter_policy;
pub use command_line::{
    Command, CommandLine, DevArguments, InitArguments, InspectArguments, InspectOutput,
    JoinArguments, ManArguments, RunArguments, SalvageArguments, Settings,
};
pub use history::history_settings;

use crate::failure::Failure;
use crate::history::HistorySettings;
use cotter_replica::{ChapterPolicy, Timing};
use cotter_types::ReplicaId;
use cotter_types::limits::{NAME_BYTES_MAX, REPLICAS_MAX};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How often a disk is read back unless the configuration says otherwise.
pub const SCRUB_EVERY_DEFAULT: Duration = Duration::from_secs(24 * 3_600);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl LogFormat {
    /// Parses `text` or `json`.
    ///
    /// # Errors
    /// For any other word.
    pub fn parse(word: &str) -> Result<Self, Failure> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Failure::config(format!(
                "log_format is {word:?}, but must be text or json"
            ))),
        }
    }
}

/// One member of the cell, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// Its id.
    pub id: ReplicaId,
    /// Where clients reach it, as `host:port`.
    pub client: String,
    /// Where the other replicas reach it, as `host:port`.
    pub peer: String,
}

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cell's name.
    pub cell: String,
    /// Which member this replica is.
    pub replica: ReplicaId,
    /// Its data directory.
    pub data: PathBuf,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where to listen for clients.
    pub client_listen: SocketAddr,
    /// The address that clients are told; none if it is the one where the replica listens.
    pub client_advertise: Option<String>,
    /// Where to listen for the other replicas.
    pub peer_listen: SocketAddr,
    /// The address that the other replicas are told; none if it is the one where it listens.
    pub peer_advertise: Option<String>,
    /// All members in the order of their ids, this one included. A cell of one replica that names no
    /// members has none here until its ports are known.
    pub members: Vec<MemberAddress>,
    /// Rounds and leases, whose arithmetic holds.
    pub timing: Timing,
    /// When a chapter of the log is sealed.
    pub chapters: ChapterPolicy,
    /// How much history is kept.
    pub history: HistorySettings,
    /// How often the disk is read back, to see whether it is whole.
    pub scrub_every: Duration,
    /// Whether a replica whose data directory is empty joins anew by itself, and asks for the vote that
    /// its lost disk had.
    pub rejoin: bool,
}

impl Config {
    /// Reads the file that `settings` names, if any, and lets flags and variables replace its values.
    ///
    /// # Errors
    /// [`Failure`] with one line for the first thing that does not hold.
    pub fn load(settings: &Settings) -> Result<Self, Failure> {
        let file = match &settings.config {
            Some(path) => file::read(path)?,
            None => file::File::default(),
        };
        Self::check(file, settings)
    }

    fn check(file: file::File, settings: &Settings) -> Result<Self, Failure> {
        let cell = settings.cell.clone().or(file.cell);
        let cell = cell_name(&required("cell", cell)?)?;
        let replica = match &settings.replica {
            Some(text) => Some(number("replica", text)?),
            None => file.replica,
        };
        let replica = required("replica", replica)?;
        let data = required("data", settings.data.clone().or(file.data))?;
        if data.as_os_str().is_empty() {
            return Err(Failure::config("data is empty, but must name a directory"));
        }
        let log_format = settings
            .log_format
            .as_deref()
            .or(file.log_format.as_deref());
        let log_format = log_format.map_or(Ok(LogFormat::default()), LogFormat::parse)?;

        let members = members(&file.members, &settings.members)?;
        let replica = own_id(replica, &members)?;
        let own = members.iter().find(|member| member.id == replica);

        let client_listen = settings.client_listen.clone().or(file.client.listen);
        let client_listen = listen("client.listen", client_listen)?;
        let peer_listen = settings.peer_listen.clone().or(file.peer.listen);
        let peer_listen = listen("peer.listen", peer_listen)?;
        let advertise = |key: &str, flag: &Option<String>, file: Option<String>, row| {
            let given: Option<String> = flag.clone().or(file).or(row);
            given.map(|text| host_and_port(key, &text)).transpose()
        };
        let client_advertise = advertise(
            "client.advertise",
            &settings.client_advertise,
            file.client.advertise,
            own.map(|member| member.client.clone()),
        )?;
        if client_advertise.is_none() && client_listen.ip().is_unspecified() {
            return Err(Failure::config(format!(
                "client.advertise is not given, and clients cannot dial {client_listen}: say by which \
                 address they reach this replica"
            )));
        }
        let peer_advertise = advertise(
            "peer.advertise",
            &settings.peer_advertise,
            file.peer.advertise,
            own.map(|member| member.peer.clone()),
        )?;
        Ok(Self {
            cell,
            replica,
            data,
            log_format,
            client_listen,
            client_advertise,
            peer_listen,
            peer_advertise,
            members,
            rejoin: file.rejoin.unwrap_or(false),
            timing: timing(&file.timing, settings)?,
            chapters: chapter::policy(
                &file.chapter,
                settings.chapter_bytes.as_deref(),
                settings.chapter_age.as_deref(),
            )?,
            history: history::settings(
                &file.history,
                settings.history_bytes.as_deref(),
                settings.history_days.as_deref(),
            )?,
            scrub_every: match settings
                .scrub_every
                .as_deref()
                .or(file.scrub.every.as_deref())
            {
                Some(every) => span_of_time("scrub.every", every)?,
                None => SCRUB_EVERY_DEFAULT,
            },
        })
    }

    /// Returns all members, with this one's addresses as it advertises them, now that the ports where
    /// it listens are known.
    #[must_use]
    pub fn members_advertised(&self, client: SocketAddr, peer: SocketAddr) -> Vec<MemberAddress> {
        let own = MemberAddress {
            id: self.replica,
            client: self
                .client_advertise
                .clone()
                .unwrap_or_else(|| client.to_string()),
            peer: self
                .peer_advertise
                .clone()
                .unwrap_or_else(|| peer.to_string()),
        };
        let mut members: Vec<MemberAddress> = self
            .members
            .iter()
            .filter(|member| member.id != self.replica)
            .cloned()
            .collect();
        members.push(own);
        members.sort_by_key(|member| member.id);
        members
    }
}

/// Parses an address to listen on; the port may be 0, for one that the system chooses.
///
/// # Errors
/// [`Failure`] that names `key`.
pub fn listen_address(key: &str, text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| {
        Failure::config(format!(
            "{key} is {text:?}, but must be an IP address and a port, as in 127.0.0.1:7400 or [::1]:7400"
        ))
    })
}

/// Longest span of time that can be given: a week.
const SPAN_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// Parses a span of time such as `500ms`, `60s` or `5m`: from 1 ms to a week.
///
/// # Errors
/// [`Failure`] that names `key`.
pub fn span_of_time(key: &str, text: &str) -> Result<Duration, Failure> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let ms_per_unit = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    count
        .parse::<u64>()
        .ok()
        .zip(ms_per_unit)
        .and_then(|(count, ms)| count.checked_mul(ms))
        .filter(|ms| (1..=SPAN_MS_MAX).contains(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            Failure::config(format!(
                "{key} is {text:?}, but must be a span of time from 1ms to 168h, as in 500ms, 60s or 5m"
            ))
        })
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, Failure> {
    value.ok_or_else(|| {
        Failure::config(format!(
            "{key} is not given: set it in the configuration file, by its flag or by its COTTERD_ variable"
        ))
    })
}

fn number(key: &str, text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|_| Failure::config(format!("{key} is {text:?}, but must be a whole number")))
}

fn cell_name(name: &str) -> Result<String, Failure> {
    let bad = name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.chars().any(|c| c == '/' || c.is_control())
        || matches!(name, "local" | "." | "..");
    if bad {
        return Err(Failure::config(format!(
            "cell is {name:?}, but must be 1 to {NAME_BYTES_MAX} bytes without / or control characters, and not local"
        )));
    }
    Ok(name.to_owned())
}

fn listen(key: &str, text: Option<String>) -> Result<SocketAddr, Failure> {
    listen_address(key, &required(key, text)?)
}

/// Checks that `text` can be dialled: a host, a colon, and a port that is not 0.
fn host_and_port(key: &str, text: &str) -> Result<String, Failure> {
    let dialled = text.rsplit_once(':').is_some_and(|(host, port)| {
        let host_is_whole = if host.contains(':') {
            host.starts_with('[') && host.ends_with(']')
        } else {
            true
        };
        let clean = !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c == '/');
        clean && host_is_whole && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !dialled {
        return Err(Failure::config(format!(
            "{key} is {text:?}, but must be a host and a port that others can dial, as in 10.0.0.1:7400"
        )));
    }
    Ok(text.to_owned())
}

/// Builds the member table from the flags, or from the file when there are none.
fn members(rows: &[file::Row], flags: &[String]) -> Result<Vec<MemberAddress>, Failure> {
    let mut members = Vec::new();
    for flag in flags.iter().filter(|flag| !flag.is_empty()) {
        let parts = flag
            .split_once('=')
            .and_then(|(id, rest)| Some((id, rest.split_once(',')?)));
        let Some((id, (client, peer))) = parts else {
            return Err(Failure::config(format!(
                "a member is {flag:?}, but must be ID=CLIENT,PEER, as in 1=10.0.0.1:7400,10.0.0.1:7401"
            )));
        };
        members.push(member(number("members.id", id)?, client, peer)?);
    }
    if members.is_empty() {
        for row in rows {
            members.push(member(row.id, &row.client, &row.peer)?);
        }
    }
    members.sort_by_key(|member| member.id);
    let ids = 1..=REPLICAS_MAX as u64;
    if let Some(member) = members.iter().find(|member| !ids.contains(&member.id.0)) {
        return Err(Failure::config(format!(
            "members has a row with id {}, but ids go from 1 to {REPLICAS_MAX}",
            member.id
        )));
    }
    if let Some(twice) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(Failure::config(format!(
            "members has two rows with id {}",
            twice[0].id
        )));
    }
    let mut addresses: Vec<&str> = members
        .iter()
        .flat_map(|member| [member.client.as_str(), member.peer.as_str()])
        .collect();
    addresses.sort_unstable();
    if let Some(twice) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::config(format!(
            "members names the address {} twice",
            twice[0]
        )));
    }
    Ok(members)
}

fn member(id: u64, client: &str, peer: &str) -> Result<MemberAddress, Failure> {
    Ok(MemberAddress {
        id: ReplicaId(id),
        client: host_and_port("members.client", client)?,
        peer: host_and_port("members.peer", peer)?,
    })
}

fn own_id(replica: u64, members: &[MemberAddress]) -> Result<ReplicaId, Failure> {
    let id = ReplicaId(replica);
    if members.is_empty() && replica != 1 {
        return Err(Failure::config(format!(
            "replica is {replica}, but members is empty: a cell of one replica has number 1"
        )));
    }
    if !members.is_empty() && members.iter().all(|member| member.id != id) {
        return Err(Failure::config(format!(
            "replica is {replica}, but members has no row with that id"
        )));
    }
    Ok(id)
}

fn timing(file: &file::TimingSection, settings: &Settings) -> Result<Timing, Failure> {
    let given = |key: &str, flag: &Option<String>, file: Option<u64>| match flag {
        Some(text) => number(key, text).map(Some),
        None => Ok(file),
    };
    let mut timing = Timing::default();
    if let Some(ms) = given(
        "timing.election_round_ms",
        &settings.election_round_ms,
        file.election_round_ms,
    )? {
        timing.election_round_ms = ms;
    }
    if let Some(ms) = given(
        "timing.master_lease_ms",
        &settings.master_lease_ms,
        file.master_lease_ms,
    )? {
        timing.master_lease_ms = ms;
    }
    timing
        .check()
        .map_err(|why| Failure::config(format!("timing does not hold: {why}")))?;
    Ok(timing)
}
