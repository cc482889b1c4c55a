//! What a value may be, and how it is read from TOML and shown as TOML.

use std::fmt;
use std::net::SocketAddr;

use toml::de::DeValue;

use super::list::Item;

/// The values a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    Boolean,
    Integer {
        min: u64,
        max: u64,
    },
    PowerOfTwo {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        max: f64,
    },
    OneOf(&'static [&'static str]),
    /// A loopback address with a port, or a socket's path; empty: none.
    Listen,
    /// Any text that is what the words say.
    Text(&'static str),
    List(Item),
}

impl fmt::Display for Allowed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => write!(out, "true or false"),
            Self::Integer { min, max } => write!(out, "an integer from {min} to {max}"),
            Self::PowerOfTwo { min, max } => write!(out, "a power of two from {min} to {max}"),
            Self::Number { min, max } => write!(out, "a number from {min} to {max}"),
            Self::OneOf(names) => {
                let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                write!(out, "one of {}", quoted.join(", "))
            }
            Self::Listen => write!(
                out,
                "a loopback address and port such as \"127.0.0.1:9353\", a socket's absolute path, or \"\" for none"
            ),
            Self::Text(what) => write!(out, "{what}"),
            Self::List(item) => write!(out, "{item}"),
        }
    }
}

/// The value is not an allowed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal;

/// A type that a key can have.
pub(super) trait Setting: Sized {
    fn read(value: &DeValue<'_>, allowed: &Allowed) -> Result<Self, Refusal>;
    fn show(&self) -> String;
}

impl Setting for u64 {
    fn read(value: &DeValue<'_>, allowed: &Allowed) -> Result<Self, Refusal> {
        let integer = value.as_integer().ok_or(Refusal)?;
        let number = Self::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| Refusal)?;
        let allowed = match *allowed {
            Allowed::Integer { min, max } => (min..=max).contains(&number),
            Allowed::PowerOfTwo { min, max } => (min..=max).contains(&number) && number.is_power_of_two(),
            _ => false,
        };
        allowed.then_some(number).ok_or(Refusal)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Option<u32> {
    fn read(value: &DeValue<'_>, allowed: &Allowed) -> Result<Self, Refusal> {
        let number = u64::read(value, allowed)?;
        u32::try_from(number).map(Some).map_err(|_| Refusal)
    }

    /// Empty: not set.
    fn show(&self) -> String {
        self.map_or_else(String::new, |number| number.to_string())
    }
}

impl Setting for f64 {
    fn read(value: &DeValue<'_>, allowed: &Allowed) -> Result<Self, Refusal> {
        let text = match value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return Err(Refusal),
        };
        let number: Self = text.parse().map_err(|_| Refusal)?;
        match *allowed {
            Allowed::Number { min, max } if (min..=max).contains(&number) => Ok(number),
            _ => Err(Refusal),
        }
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Setting for bool {
    fn read(value: &DeValue<'_>, _: &Allowed) -> Result<Self, Refusal> {
        value.as_bool().ok_or(Refusal)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn read(value: &DeValue<'_>, allowed: &Allowed) -> Result<Self, Refusal> {
        let text = value.as_str().ok_or(Refusal)?;
        let fits = match allowed {
            Allowed::Listen => {
                let is_loopback = || text.parse().is_ok_and(|at: SocketAddr| at.ip().is_loopback());
                text.is_empty() || text.starts_with('/') || is_loopback()
            }
            Allowed::Text("an absolute path") => text.starts_with('/'),
            Allowed::Text(what) if what.starts_with("an absolute path") => {
                text.is_empty() || text.starts_with('/')
            }
            _ => true,
        };
        (fits && !text.contains('\0')).then(|| text.to_owned()).ok_or(Refusal)
    }

    fn show(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

/// An enum whose variants are written as the given words.
macro_rules! choice {
    ($(#[$meta:meta])* $Type:ident { $($Variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Type { $($Variant),+ }

        impl $Type {
            /// The words, in order.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Its word.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name),+
                }
            }
        }

        impl super::value::Setting for $Type {
            fn read(
                value: &toml::de::DeValue<'_>,
                _: &super::value::Allowed,
            ) -> Result<Self, super::value::Refusal> {
                match value.as_str() {
                    $(Some($name) => Ok(Self::$Variant),)+
                    _ => Err(super::value::Refusal),
                }
            }

            fn show(&self) -> String {
                format!("\"{}\"", self.name())
            }
        }
    };
}
pub(super) use choice;
