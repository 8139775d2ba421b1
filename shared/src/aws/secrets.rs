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

/// Reads secrets.
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
        let failed = |problem: String| SecretError { arn: arn.to_owned(), problem };
        match self.0.get_secret_value().secret_id(arn).send().await {
            Ok(output) => Ok(output.secret_string.filter(|value| !value.trim().is_empty()).map(SecretString::from)),
            // A secret that was created without a value has no current version.
            Err(error)
                if error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                let message = describe(&error);
                if message.contains("staging label") || message.contains("AWSCURRENT") {
                    Ok(None)
                } else {
                    Err(failed(message))
                }
            }
            Err(error) => Err(failed(describe(&error))),
        }
    }

    /// The entries of a list that stands there separated by commas, because it is too long for an environment; none if
    /// there is no value.
    pub async fn read_list(&self, arn: &str) -> Result<Vec<String>, SecretError> {
        let text = self.read(arn).await?.unwrap_or_default();
        let entries = text.expose_secret().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(entries.map(str::to_owned).collect())
    }
}
