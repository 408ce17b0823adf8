//! What can be wrong with what a peer says: one word each, with the status that answers it and the words that tell it.

/// Why a head, a body or a PROXY header is refused. Whatever is refused ends its connection: what follows is never read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    RequestLine,
    MethodNotAllowed,
    Target,
    Version,
    LineTooLong,
    HeadTooLong,
    TooManyFields,
    BareCr,
    BareLf,
    Control,
    FieldName,
    SpaceBeforeColon,
    Fold,
    NoHost,
    SeveralHosts,
    Host,
    HostDiffers,
    Length,
    SeveralLengths,
    LengthAndCoding,
    Coding,
    UnknownCoding,
    CodingInHttp10,
    Lookalike,
    Connection,
    Expectation,
    StatusLine,
    Switch,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    Trailers,
    BodyTooLarge,
    Truncated,
    ProxyHeader,
}

impl Wrong {
    /// What a client is told whose request it is: 400, 405, 413, 414, 417, 431, 501 or 505. Of a backend it is always 502.
    pub fn status(self) -> u16 {
        self.told().0
    }

    /// A short word, of a small set: for metrics and the log.
    pub fn label(self) -> &'static str {
        self.told().1
    }

    /// What was wrong, for people.
    pub fn why(self) -> &'static str {
        self.told().2
    }

    fn told(self) -> (u16, &'static str, &'static str) {
        match self {
            Wrong::RequestLine => {
                (400, "request-line", "the request line is not METHOD TARGET VERSION")
            }
            Wrong::MethodNotAllowed => (405, "method", "CONNECT and TRACE are not served"),
            Wrong::Target => (400, "target", "the target is not one that can be asked for"),
            Wrong::Version => (505, "version", "the version is not HTTP/1.0 or HTTP/1.1"),
            Wrong::LineTooLong => (414, "line-length", "the request line is too long"),
            Wrong::HeadTooLong => (431, "head-length", "the head is too long"),
            Wrong::TooManyFields => (431, "fields", "there are too many header fields"),
            Wrong::BareCr => (400, "bare-cr", "a carriage return stands alone"),
            Wrong::BareLf => (400, "bare-lf", "a line ends without a carriage return"),
            Wrong::Control => (400, "control", "there is a control character"),
            Wrong::FieldName => (400, "field-name", "a header line is not NAME: VALUE"),
            Wrong::SpaceBeforeColon => (400, "space", "there is white space before a colon"),
            Wrong::Fold => (400, "fold", "a header line begins with white space"),
            Wrong::NoHost => (400, "host", "Host is missing"),
            Wrong::SeveralHosts => (400, "host", "there is more than one Host"),
            Wrong::Host => (400, "host", "Host is not HOST or HOST:PORT"),
            Wrong::HostDiffers => (400, "host", "Host and the target name different hosts"),
            Wrong::Length => (400, "length", "Content-Length is not a number of bytes"),
            Wrong::SeveralLengths => (400, "length", "there is more than one Content-Length"),
            Wrong::LengthAndCoding => {
                (400, "framing", "there are Content-Length and Transfer-Encoding")
            }
            Wrong::Coding => (400, "coding", "Transfer-Encoding does not end with one chunked"),
            Wrong::UnknownCoding => (501, "coding", "Transfer-Encoding is not chunked alone"),
            Wrong::CodingInHttp10 => (400, "coding", "there is Transfer-Encoding in HTTP/1.0"),
            Wrong::Lookalike => (400, "field-name", "a header name differs by an underscore"),
            Wrong::Connection => (400, "connection", "Connection is not a short list of names"),
            Wrong::Expectation => (417, "expect", "Expect is not 100-continue"),
            Wrong::StatusLine => (400, "status-line", "the status line is not VERSION STATUS"),
            Wrong::Switch => (400, "switch", "another protocol was not asked for"),
            Wrong::ChunkSize => (400, "chunk-size", "a chunk's size is not a number, or too large"),
            Wrong::ChunkExtension => {
                (400, "chunk-extension", "a chunk extension is bad or too long")
            }
            Wrong::ChunkEnd => (400, "chunk-end", "a chunk does not end where its size says"),
            Wrong::Trailers => (400, "trailers", "the trailers are bad or too long"),
            Wrong::BodyTooLarge => (413, "body-length", "the body is too large"),
            Wrong::Truncated => (400, "truncated", "the body is cut short"),
            Wrong::ProxyHeader => (400, "proxy-header", "this is no header of the PROXY protocol"),
        }
    }
}
