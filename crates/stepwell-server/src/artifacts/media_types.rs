//! What the name of a file says of its content.

const TEXT: &str = "text/plain; charset=utf-8";

/// By the end of the name. Names of files that models have without an end are text.
const KNOWN: [(&str, &str); 30] = [
    ("txt", TEXT),
    ("log", TEXT),
    ("err", TEXT),
    ("cfg", TEXT),
    ("conf", TEXT),
    ("ini", TEXT),
    ("toml", TEXT),
    ("yaml", TEXT),
    ("yml", TEXT),
    ("py", TEXT),
    ("js", TEXT),
    ("r", TEXT),
    ("md", TEXT),
    ("rst", TEXT),
    ("jsonnet", TEXT),
    ("mlmodel", TEXT),
    ("mlproject", TEXT),
    ("csv", "text/csv; charset=utf-8"),
    ("tsv", "text/tab-separated-values; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
];

/// The media type of a file of that name.
pub(super) fn media_type(name: &str) -> &'static str {
    let end = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let known = KNOWN.iter().find(|(known, _)| *known == end);
    known.map_or("application/octet-stream", |(_, media_type)| media_type)
}
