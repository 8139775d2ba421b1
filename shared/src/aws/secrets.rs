//! Secrets Manager: one secret a credential, each a plain text.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use secrecy::{ExposeSecret as _, SecretString};

use super::describe;

/// A secret could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the secret {arn} could not be read: {problem}; check that it exists and that the function's role may read it")]
pub struct SecretError {
    /// Which secret.
    pub arn: String,
    /// Why.
    pub problem: String,
}

/// A secret could not be written.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the secret {arn} could not be written: {problem}; check that it exists and that the function's role may write it"
)]
pub struct WriteError {
    /// Which secret.
    pub arn: String,
    /// Why.
    pub problem: String,
}

/// Reads secrets, and writes them where the function's role lets it.
#[derive(Debug, Clone)]
pub struct Secrets(Client);

impl Secrets {
    /// Reads through the given configuration.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// The current value; none if the secret has no value yet, or an empty one.
    pub async fn read(&self, arn: &str) -> Result<Option<SecretString>, SecretError> {
        Ok(self.read_with_version(arn).await?.0)
    }

    /// The current value, with the id of its version; none if there is none.
    pub async fn read_with_version(&self, arn: &str) -> Result<(Option<SecretString>, Option<String>), SecretError> {
        let failed = |problem: String| SecretError { arn: arn.to_owned(), problem };
        match self.0.get_secret_value().secret_id(arn).send().await {
            Ok(output) => {
                let text = output.secret_string.filter(|value| !value.trim().is_empty()).map(SecretString::from);
                Ok((text, output.version_id))
            }
            // A secret that was created without a value has no current version.
            Err(error)
                if error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                let message = describe(&error);
                if message.contains("staging label") || message.contains("AWSCURRENT") {
                    Ok((None, None))
                } else {
                    Err(failed(message))
                }
            }
            Err(error) => Err(failed(describe(&error))),
        }
    }

    /// Puts another value in place of the current one and answers the id of its version.
    pub async fn write(&self, arn: &str, text: &SecretString) -> Result<String, WriteError> {
        let failed = |problem: String| WriteError { arn: arn.to_owned(), problem };
        let put = self.0.put_secret_value().secret_id(arn).secret_string(text.expose_secret());
        let output = put.send().await.map_err(|error| failed(describe(&error)))?;
        output.version_id.ok_or_else(|| failed("it did not answer which version it wrote".to_owned()))
    }

    /// The entries of a list that stands there separated by commas, because it is too long for an environment; none if
    /// there is no value.
    pub async fn read_list(&self, arn: &str) -> Result<Vec<String>, SecretError> {
        let text = self.read(arn).await?.unwrap_or_default();
        let entries = text.expose_secret().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(entries.map(str::to_owned).collect())
    }
}
