//! The head of an HTTP request, as far as the endpoint needs it (RFC 9112). Nothing of it is kept or told to anybody.

use super::Form;

/// Longest head, bytes; a scraper's has a few hundred.
pub const HEAD_MAX: usize = 8192;
const FIELDS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub page: Page,
    /// With `HEAD` only the answer's head is sent.
    pub is_head: bool,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Metrics,
    /// The sensor answers.
    Health,
    /// It watches.
    Ready,
}

/// Why there is no answer but a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    TooLarge,
    Unknown,
    /// Neither GET nor HEAD.
    Method,
    /// It has a body, or wants one.
    Body,
}

impl Refusal {
    /// Status line's code and words.
    pub const fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unknown => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::Body => "413 Content Too Large",
        }
    }
}

/// Reads what has come so far; `None`: the head goes on.
pub fn parse(bytes: &[u8]) -> Option<Result<Request, Refusal>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) if bytes.len() <= HEAD_MAX => {}
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return None,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Some(Err(Refusal::TooLarge)),
        Err(_) => return Some(Err(Refusal::Malformed)),
    }
    Some(read(&request))
}

fn read(request: &httparse::Request<'_, '_>) -> Result<Request, Refusal> {
    let field = |name: &str| {
        let mut found = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().map(|field| field.value)
    };
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refusal::Method),
    };
    let has_body = field("content-length").is_some_and(|length| length != b"0");
    if has_body || field("transfer-encoding").is_some() || field("expect").is_some() {
        return Err(Refusal::Body);
    }
    let path = request.path.unwrap_or_default();
    let page = match path.split('?').next().unwrap_or_default() {
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Health,
        "/readyz" => Page::Ready,
        _ => return Err(Refusal::Unknown),
    };
    let accepts = field("accept").and_then(|accept| std::str::from_utf8(accept).ok()).unwrap_or_default();
    let wants_open = accepts.to_ascii_lowercase().contains("application/openmetrics-text");
    Ok(Request { page, is_head, form: if wants_open { Form::OpenMetrics } else { Form::Text } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Result<Request, Refusal>> {
        parse(text.as_bytes())
    }

    #[test]
    fn what_scrapers_send_is_read() {
        let asked = |text: &str| of(text).unwrap().unwrap();
        let plain = asked("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(plain, Request { page: Page::Metrics, is_head: false, form: Form::Text });
        let open = asked(
            "GET /metrics?x=1 HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
        );
        assert_eq!(open.form, Form::OpenMetrics);
        assert_eq!(
            asked("HEAD /readyz HTTP/1.0\r\n\r\n"),
            Request { page: Page::Ready, is_head: true, form: Form::Text }
        );
        assert_eq!(asked("GET /healthz HTTP/1.1\r\nContent-Length: 0\r\n\r\n").page, Page::Health);
        for part in ["", "GET", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\n"] {
            assert_eq!(of(part), None, "{part:?}");
        }
    }

    #[test]
    fn all_else_is_refused_with_its_status() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEAD_MAX));
        let endless = "GET /metrics HTTP/1.1\r\nX: ".to_owned() + &"x".repeat(HEAD_MAX);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX + 1));
        for (text, refusal) in [
            ("\u{16}\u{3}\u{1}", Refusal::Malformed),
            ("GET /metrics\r\n\r\n", Refusal::Malformed),
            ("GET /metrics HTTP/2.0\r\n\r\n", Refusal::Malformed),
            ("GET /metrics HTTP/1.1\r\nno field\r\n\r\n", Refusal::Malformed),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Unknown),
            ("GET /metrics/../../etc HTTP/1.1\r\n\r\n", Refusal::Unknown),
            ("POST /metrics HTTP/1.1\r\n\r\n", Refusal::Method),
            ("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", Refusal::Body),
            ("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Body),
            (&long, Refusal::TooLarge),
            (&endless, Refusal::TooLarge),
            (&many, Refusal::TooLarge),
        ] {
            assert_eq!(of(text), Some(Err(refusal)), "{:?}", text.chars().take(60).collect::<String>());
        }
    }
}
