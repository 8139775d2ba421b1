//! The environment read into types, once, at start. An error names the variable at fault and what it should be.

use std::time::Duration;

/// A variable of the environment cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigurationError {
    /// It must be set.
    #[error("the environment variable {0} is not set; the template sets it, so deploy the stack again")]
    Missing(&'static str),
    /// It is set to something else than expected.
    #[error("the environment variable {variable} is `{value}`: {problem}")]
    Invalid {
        /// Its name.
        variable: &'static str,
        /// Its value. Variables never hold secrets.
        value: String,
        /// What it should be.
        problem: String,
    },
}

/// Where variables come from: the process's environment, or a list in tests.
pub struct Environment(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    /// The given variables and no others.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self(Box::new(move |wanted| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())))
    }

    /// The value if it is set and not blank.
    #[must_use]
    pub fn optional(&self, variable: &'static str) -> Option<String> {
        (self.0)(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The value, which must be set.
    pub fn required(&self, variable: &'static str) -> Result<String, ConfigurationError> {
        self.optional(variable).ok_or(ConfigurationError::Missing(variable))
    }

    /// The entries of a comma-separated list; empty if it is not set.
    #[must_use]
    pub fn list(&self, variable: &'static str) -> Vec<String> {
        self.optional(variable)
            .map(|value| value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// The value read by `parse`, or `default` if it is not set.
    pub fn parsed<T, E: std::fmt::Display>(
        &self,
        variable: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigurationError> {
        match self.optional(variable) {
            None => Ok(default),
            Some(value) => parse(&value).map_err(|problem| ConfigurationError::Invalid {
                variable,
                problem: problem.to_string(),
                value,
            }),
        }
    }

    /// A duration such as `48h`, `90m` or `5s`.
    pub fn duration(&self, variable: &'static str, default: Duration) -> Result<Duration, ConfigurationError> {
        self.parsed(variable, default, parse_duration)
    }

    /// A base URL: `https://`, or `http://` for this machine only.
    pub fn base_url(&self, variable: &'static str) -> Result<Option<url::Url>, ConfigurationError> {
        self.parsed(variable, None, |value| parse_base_url(value).map(Some))
    }
}

/// A text is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a duration is a whole number followed by s, m, h or d, such as 48h or 90m")]
pub struct NotADuration;

/// Reads a duration such as `48h`, `90m`, `5s` or `4d`.
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    let unit = text.chars().last().ok_or(NotADuration)?;
    let seconds_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(NotADuration),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotADuration);
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(seconds_per_unit))
        .map(Duration::from_secs)
        .ok_or(NotADuration)
}

/// A text is not a base URL that may be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotABaseUrl {
    /// It cannot be read.
    #[error("it must be a URL such as https://crm.example.com/api")]
    Unreadable,
    /// It is not encrypted and leaves this machine.
    #[error("it must begin with https://; http:// is only for 127.0.0.1 and localhost")]
    NotEncrypted,
    /// It carries a user, a query or a fragment.
    #[error("it must not carry a user, a query or a fragment")]
    NotABase,
}

/// Reads an address that is called as it is: `https://`, or `http://` for this machine only.
pub fn parse_address(text: &str) -> Result<url::Url, NotABaseUrl> {
    let url = url::Url::parse(text).map_err(|_| NotABaseUrl::Unreadable)?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return Err(NotABaseUrl::NotEncrypted);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(NotABaseUrl::NotABase);
    }
    Ok(url)
}

/// Reads a base URL; its path ends in a slash, so that calls can be joined to it.
pub fn parse_base_url(text: &str) -> Result<url::Url, NotABaseUrl> {
    let mut url = parse_address(text)?;
    if url.query().is_some() {
        return Err(NotABaseUrl::NotABase);
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [("5s", 5), ("90m", 5400), ("48h", 172_800), ("4d", 345_600), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "h", "-5s", "+5s", "1.5h", "5 s", "5S", "99999999999999999999d", "5µ"] {
            assert_eq!(parse_duration(text), Err(NotADuration), "{text}");
        }
    }

    #[test]
    fn unencrypted_base_urls_are_only_for_this_machine() {
        for good in ["https://crm.example.com/api", "http://127.0.0.1:8080", "http://localhost/x/"] {
            assert!(parse_base_url(good).is_ok_and(|url| url.path().ends_with('/')), "{good}");
        }
        for (bad, problem) in [
            ("http://crm.example.com", NotABaseUrl::NotEncrypted),
            ("http://127.0.0.1.evil.example", NotABaseUrl::NotEncrypted),
            ("ftp://localhost/", NotABaseUrl::NotEncrypted),
            ("crm.example.com", NotABaseUrl::Unreadable),
            ("https://user:pass@crm.example.com", NotABaseUrl::NotABase),
            ("https://crm.example.com/?a=b", NotABaseUrl::NotABase),
        ] {
            assert_eq!(parse_base_url(bad), Err(problem), "{bad}");
        }
    }

    #[test]
    fn error_names_the_variable_at_fault() {
        let environment = Environment::of(&[("RETRY_FOR", "soon"), ("EMPTY", "  ")]);
        let error = environment.duration("RETRY_FOR", Duration::ZERO).expect_err("not a duration");
        assert!(error.to_string().contains("RETRY_FOR is `soon`"), "{error}");
        assert_eq!(environment.required("EMPTY"), Err(ConfigurationError::Missing("EMPTY")));
        assert_eq!(environment.required("ABSENT"), Err(ConfigurationError::Missing("ABSENT")));
    }

    #[test]
    fn lists_are_split_at_commas_and_trimmed() {
        let environment = Environment::of(&[("LIST", " a , ,b,")]);
        assert_eq!(environment.list("LIST"), ["a", "b"]);
        assert!(environment.list("ABSENT").is_empty());
    }
}
