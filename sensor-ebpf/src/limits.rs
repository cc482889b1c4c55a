//! Constant bounds of every kernel loop, each with its reason.

/// VLAN tags walked: 802.1Q inside 802.1ad. Deeper stacks are counted.
pub const MAX_VLAN: usize = 2;
/// IPv6 extension headers walked: RFC 8200 section 4.1 lists six that may precede the upper layer.
pub const MAX_EXT_HEADERS: usize = 6;
/// Where a transport header may begin at most: Ethernet + 2 tags + IPv6 + 6 extension headers of 2 KiB. The verifier
/// wants a bound on packet offsets below 65,535.
pub const MAX_HEADER_OFFSET: u32 = 14 + 8 + 40 + 6 * 2048;
/// Name in wire form with the root label (RFC 1035 section 3.1).
pub const MAX_NAME: usize = 255;
/// Labels of such a name, root not counted: 127 of one byte each.
pub const MAX_LABELS: usize = 127;
/// Label (RFC 1035 section 2.3.4).
pub const MAX_LABEL: usize = 63;
/// 8-byte words that a name can touch at any alignment.
pub const MAX_NAME_WORDS: usize = MAX_NAME.div_ceil(8);
/// Records from one packet: `UDP_MAX_SEGMENTS` is 64 before 6.9 and 128 after (linux 1382e3b6a350), and a full GSO
/// segment of TCP (64 KiB) needs 43 of `CAP_RESPONSE`.
pub const MAX_CHUNKS: u32 = 128;
/// The same for XDP, which sees frames before any aggregation: a jumbo frame of 9,000 bytes needs 6.
pub const XDP_CHUNKS: u32 = 8;
/// The same for XDP before 5.18, where a frame lies in one page.
pub const XDP_LEGACY_CHUNKS: u32 = 3;
/// Question names of at least this many bytes go to the small ring. 99 % of popular names are shorter.
pub const ALERT_NAME: u16 = 64;
/// Steps from an executable up to the root of its mount namespace: 32 directories and 8 mounts between them.
pub const PATH_STEPS: u32 = 40;
/// Messages up to here are copied out of linear packet memory by the program itself; a call for longer ones costs less
/// than the loop.
pub const MAX_DIRECT: u32 = 512;
