//! Zeek dns.log, tab-separated or JSON: each row becomes the messages it was written from.
//!
//! Rows give a query at `ts` and, where there is an rcode, a response `rtt` later. What a row does not hold (EDNS,
//! authority section, letter case) is not there. A row that is no row is damage; a value that cannot be is counted.

mod row;
mod wire;

use super::{Emit, Error, Stop, Tally, input::Input, send};

use row::{Columns, Row};

/// Why a row gives no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    /// Neither port is 53: mDNS, LLMNR, NetBIOS.
    OtherTraffic,
    /// No time or no addresses, or not to be read as such.
    BadValue,
    /// Labels over 63 or a name over 255 bytes.
    BadName,
    /// A row of another log.
    OtherLog,
}

impl Skip {
    fn label(self) -> &'static str {
        match self {
            Self::OtherTraffic => "other_traffic",
            Self::BadValue => "zeek_bad_value",
            Self::BadName => "zeek_bad_name",
            Self::OtherLog => "zeek_other_log",
        }
    }
}

pub(super) fn read_tsv(input: &mut Input, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let mut columns = Columns::default();
    loop {
        let at = input.offset();
        let Some((line, ended)) = input.line()? else { return Ok(()) };
        if line.is_empty() {
            continue;
        }
        // A name may begin with '#'; rows begin with a time.
        if line.starts_with(b"#") {
            if let Err(what) = columns.header(line) {
                return Err(Error::Foreign(what).into());
            }
            continue;
        }
        if columns.is_empty() {
            return Err(Error::Foreign("a Zeek log without a #fields line".into()).into());
        }
        let Some(row) = columns.row(line) else {
            let what =
                if ended { "a row with too few or too many fields" } else { "the last row is cut short" };
            return Err(input.damaged(at, what).into());
        };
        give(row, tally, emit)?;
    }
}

pub(super) fn read_json(input: &mut Input, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<(), Stop> {
    loop {
        let at = input.offset();
        let Some((line, ended)) = input.line()? else { return Ok(()) };
        if line.trim_ascii().is_empty() {
            continue;
        }
        match Row::from_json(line) {
            Ok(Err(Skip::OtherLog)) if tally.records == 0 => {
                let what = "JSON lines, but not of a Zeek dns.log (no id.orig_h and query)";
                return Err(Error::Foreign(what.into()).into());
            }
            Ok(row) => give(row, tally, emit)?,
            Err(_) if tally.records == 0 && ended => {
                return Err(Error::Foreign("text that begins like JSON, but is not JSON lines".into()).into());
            }
            Err(error) => {
                let what =
                    if ended { format!("not JSON ({error})") } else { "the last row is cut short".into() };
                return Err(input.damaged(at, what).into());
            }
        }
    }
}

fn give(row: Result<Row, Skip>, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<(), Stop> {
    tally.records += 1;
    match row.and_then(|row| wire::messages(&row)) {
        Ok((query, response)) => {
            send(emit, query.into())?;
            response.map_or(Ok(()), |response| send(emit, response.into()))
        }
        Err(skip) => {
            tally.skip(skip.label());
            Ok(())
        }
    }
}
