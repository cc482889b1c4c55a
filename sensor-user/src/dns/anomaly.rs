//! What can be wrong with a message, as a set.

macro_rules! anomalies {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// One thing that is wrong with a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Anomaly { $($(#[$doc])* $variant),+ }

        impl Anomaly {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Counter label.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

anomalies! {
    /// Fewer than 12 bytes.
    ShortHeader = "short_header",
    /// The capture holds fewer bytes than were on the wire.
    Cut = "cut",
    /// QDCOUNT 0 in a plain query or response.
    NoQuestion = "no_question",
    /// QDCOUNT over 1 (RFC 9619 forbids it).
    ManyQuestions = "many_questions",
    /// A compression pointer in a question name: nothing precedes it that it could mean.
    PointerInQuestion = "pointer_in_question",
    /// A compression pointer that does not point backwards.
    PointerForward = "pointer_forward",
    /// More compression pointers in a row than a name needs.
    PointerChain = "pointer_chain",
    /// A label type that was never assigned or is historic (0x40, 0x80; RFC 6891 section 5).
    BadLabel = "bad_label",
    /// A name over 255 bytes (RFC 1035 section 2.3.4).
    NameTooLong = "name_too_long",
    /// The message ends inside a name.
    NameCut = "name_cut",
    /// The sections end before the counts do.
    CountMismatch = "count_mismatch",
    /// RDLENGTH runs past the end of the message.
    BadRdlength = "bad_rdlength",
    /// Bytes after the last record.
    TrailingBytes = "trailing_bytes",
    /// OPT twice, outside the additional section or not at the root (RFC 6891 section 6.1.1).
    BadOpt = "bad_opt",
    /// An EDNS option runs past the end of OPT.
    BadEdnsOption = "bad_edns_option",
    /// The last reserved header bit is set (RFC 1035 section 4.1.1: must be zero).
    ReservedBit = "reserved_bit",
    /// Not QUERY: NOTIFY, UPDATE, or unassigned.
    Opcode = "opcode",
    /// QR set in a message to a server: it is taken for the query that it carries all the same.
    ResponseToServer = "response_to_server",
    /// Answer or authority records in a query.
    AnswerInQuery = "answer_in_query",
}

/// A set of [`Anomaly`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies(u32);

impl Anomalies {
    pub fn add(&mut self, anomaly: Anomaly) {
        self.0 |= 1 << anomaly as u8;
    }

    pub fn has(self, anomaly: Anomaly) -> bool {
        self.0 & 1 << anomaly as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Anomaly> {
        Anomaly::ALL.iter().copied().filter(move |a| self.has(*a))
    }
}

const _: () = assert!(Anomaly::ALL.len() <= 32);
