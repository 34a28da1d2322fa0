//! Version numbers, specifiers, endpoints and credentials.

use amigo_operator::amigo::types::{BumpType, VersionNumber};
use amigo_operator::amigo::{AllowedEndpoints, Credentials, Endpoint, Specifier};
use secrecy::SecretString;

use crate::clean::assert_line;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const VERSIONS: &[&[u8]] = &[
    b"1.2.3",
    b"0.0.0",
    b"18446744073709551615.0.1",
    b"1.2",
    b"1.2.3.4",
    b"01.2.3",
    b"1.2.3rc1",
    b" 1.2.3",
    b"+1.2.3",
    b"1.-2.3",
    "\u{661}.2.3".as_bytes(),
];

fn version(bytes: &[u8]) {
    let text = text(bytes);
    match text.parse::<VersionNumber>() {
        Ok(number) => {
            assert_eq!(number.to_string(), text, "one number has one text");
            for bump in [BumpType::Major, BumpType::Minor, BumpType::Patch] {
                let next = number.bumped(bump);
                let last = [number.major, number.minor, number.patch].contains(&u64::MAX);
                assert!(next > number || last, "{next} does not follow {number}");
                assert_eq!(next.to_string().parse(), Ok(next));
            }
        }
        Err(error) => assert_line(&error.to_string(), 800),
    }
}

target!(
    /// A number that is read is written the same; a bump goes up.
    any_version_number, 20_000, VERSIONS, version
);

const SPECIFIERS: &[&[u8]] = &[
    b"<1.4",
    b"==1.2.3",
    b">=1,<2",
    b"~=1.2",
    b"==1.2.*",
    b"!=1.*",
    b"===1.2.3",
    b"<1!1",
    b"==1.2.3+local",
    b"<2.0.0rc1",
    b">1.2.3.post1",
    b" == v1.2.3 , < 2 ",
    b"==18446744073709551615.0.0",
    b">=1.2.3.dev0,!=1.5",
    b"<1\0",
    b"latest",
];

const NUMBERS: [VersionNumber; 8] = [
    VersionNumber::new(0, 0, 0),
    VersionNumber::new(0, 9, 10),
    VersionNumber::new(1, 2, 3),
    VersionNumber::new(1, 2, 10),
    VersionNumber::new(1, 4, 0),
    VersionNumber::new(2, 0, 0),
    VersionNumber::new(10, 0, 0),
    VersionNumber::new(u64::MAX, u64::MAX, u64::MAX),
];

fn specifier(bytes: &[u8]) {
    let text = text(bytes);
    let read = match Specifier::parse(&text) {
        Ok(read) => read,
        Err(error) => return assert_line(&error.to_string(), 800),
    };
    let shown = read.to_string();
    assert_line(&shown, 256);
    assert_eq!(Specifier::parse(&shown).as_ref(), Ok(&read), "it is sent as it was read");
    for number in NUMBERS {
        let exact = Specifier::exact(number);
        assert!(NUMBERS.iter().all(|other| exact.matches(*other) == (*other == number)));
        // A further condition only ever leaves versions out: what is deprecated can be narrowed, not widened.
        for more in ["<1.4", ">=1", "==1.2.*"] {
            if let Ok(narrower) = Specifier::parse(&format!("{shown},{more}")) {
                let both = read.matches(number) && Specifier::parse(more).unwrap().matches(number);
                assert_eq!(narrower.matches(number), both, "{shown},{more} {number}");
            }
        }
    }
}

target!(
    /// A specifier means the same when it is read again, and a further condition narrows it.
    any_specifier, 3_000, SPECIFIERS, specifier
);

const ENDPOINTS: &[&[u8]] = &[
    b"https://api.amigo.ai",
    b"http://127.0.0.1:8081",
    b"https://[::1]:8443",
    b"https://*.amigo.example",
    b"https://user:pass@api.amigo.ai",
    b"https://api.amigo.ai/v1?x#y",
    b"https://api.amigo.ai\\@evil.example",
    b"https://api.amigo.ai.evil.example",
    b"HTTPS://API.AMIGO.AI:443/",
    b"https://xn--80ak6aa92e.com",
    b"https:api.amigo.ai",
    b"https://api.amigo.ai%00.evil.example",
    "https://api\u{3002}amigo\u{3002}ai".as_bytes(),
    b"https://0x7f.1",
    b"file:///etc/passwd",
    b"https://a..b",
    b"//api.amigo.ai",
    b"https://api.amigo.ai:0",
];

fn endpoint(bytes: &[u8]) {
    let text = text(bytes);
    let rule = AllowedEndpoints::new(std::slice::from_ref(&text));
    let read = match Endpoint::parse(&text) {
        Ok(read) => read,
        Err(error) => return assert_line(&error.to_string(), 4_000),
    };
    let shown = read.to_string();
    assert_eq!(Endpoint::parse(&shown).as_ref(), Ok(&read), "an origin is read as it is shown");
    let host = shown.strip_prefix("https://").or_else(|| shown.strip_prefix("http://")).unwrap();
    assert!(!host.is_empty() && !host.contains(['/', '@', '?', '#', '\\', ' ']), "{shown}");
    assert_line(&shown, 1_000_000);
    // Where the request goes is what was allowed, as the HTTP client reads it.
    let uri: http::Uri = format!("{shown}/v1/acme/tool/").parse().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(shown.ends_with(uri.authority().unwrap().as_str()), "{shown} leads to {uri}");
    let own =
        ["", "-eu-central-1", "-ap-southeast-2", "-ca-central-1"].map(|part| format!("https://api{part}.amigo.ai"));
    assert_eq!(AllowedEndpoints::default().allows(&read), own.contains(&shown), "{shown}");
    let below = AllowedEndpoints::new(&["https://*.amigo.example".into()]).unwrap();
    assert_eq!(below.allows(&read), shown.starts_with("https://") && shown.ends_with(".amigo.example"), "{shown}");
    if let Some(rule) = rule.as_ref().ok().filter(|_| !text.contains('*')) {
        assert!(rule.allows(&read), "{text} allows itself");
    }
}

target!(
    /// An endpoint is an origin and nothing else, leads where it says, and is allowed only by the list.
    any_endpoint, 10_000, ENDPOINTS, endpoint
);

const CREDENTIALS: &[&[u8]] =
    &[b"key\nid\nuser", b"\n\n", b"a b\nid\nuser", b"key\n\xc3\xa4\nuser", b"key\nid\nus\x7fer"];

fn credentials(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n').map(text);
    let mut part = || parts.next().unwrap_or_default();
    let (key, id, user) = (part(), part(), part());
    match Credentials::new(SecretString::from(key.clone()), id.clone(), user.clone()) {
        Ok(credentials) => {
            for (text, longest) in [(&key, 4096), (&id, 4096), (&user, 256)] {
                assert!(!text.is_empty() && text.len() <= longest, "{} bytes", text.len());
                let value = http::HeaderValue::from_str(text).unwrap();
                assert_eq!(value.to_str().unwrap(), text, "it arrives as it is");
            }
            let shown = format!("{credentials:?}");
            assert!(key.len() < 8 || id.contains(&key) || user.contains(&key) || !shown.contains(&key), "{shown}");
            let moved = Credentials::new(SecretString::from(format!("{key}x")), id, user).map(|it| it.fingerprint());
            assert_ne!(moved.ok(), Some(credentials.fingerprint()));
        }
        Err(error) => assert_line(&error.to_string(), 200),
    }
}

target!(
    /// What is taken can be sent as headers, fits into the status, and does not show.
    any_credentials, 5_000, CREDENTIALS, credentials
);
