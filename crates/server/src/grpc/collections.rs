//! The Collections service.

use pando_model::{Command, Effect};
use pando_proto::v1::{self, collections_server::Collections};
use pando_proto::{
    decode_collection, decode_consistency, decode_quantizations, decode_request_id, decode_schema,
};
use tonic::{Request, Response, Status};

use super::Api;
use super::api::{decode, reply, unexpected};

pub(crate) struct CollectionsService(pub(crate) Api);

#[tonic::async_trait]
impl Collections for CollectionsService {
    async fn create(
        &self,
        request: Request<v1::CreateCollectionRequest>,
    ) -> Result<Response<v1::CreateCollectionResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (name, schema, id) = decode(|| {
            let name = decode_collection("name", &request.name)?;
            let schema = decode_schema(request.schema)?;
            Ok((name, schema, decode_request_id(&request.request_id)?))
        })?;
        let command = Command::CreateCollection {
            name,
            schema,
            salt: rand::random(),
        };
        let receipt = self.0.write(command, id, deadline).await?;
        match receipt.effect {
            Effect::Created { tree } => reply(v1::CreateCollectionResponse {
                log_index: receipt.index,
                tree_id: tree.0,
            }),
            Effect::Done | Effect::Points { .. } | Effect::Checked(_) => {
                Err(unexpected(&receipt).into())
            }
        }
    }

    async fn list(
        &self,
        request: Request<v1::ListCollectionsRequest>,
    ) -> Result<Response<v1::ListCollectionsResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let consistency = decode_consistency(request.consistency);
        let read = self.0.read(consistency, deadline, |r| r.collections());
        let (collections, log_index) = read.await?;
        let collections = collections.into_iter().map(Into::into).collect();
        reply(v1::ListCollectionsResponse {
            collections,
            log_index,
        })
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeCollectionRequest>,
    ) -> Result<Response<v1::DescribeCollectionResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let name = decode(|| decode_collection("name", &request.name))?;
        let consistency = decode_consistency(request.consistency);
        let read = self
            .0
            .read(consistency, deadline, move |r| r.collection(&name));
        let (collection, log_index) = read.await?;
        let collection = Some(collection.into());
        reply(v1::DescribeCollectionResponse {
            collection,
            log_index,
        })
    }

    async fn update(
        &self,
        request: Request<v1::UpdateCollectionRequest>,
    ) -> Result<Response<v1::UpdateCollectionResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (name, vectors, id) = decode(|| {
            let name = decode_collection("name", &request.name)?;
            let vectors = decode_quantizations(request.quantization)?;
            Ok((name, vectors, decode_request_id(&request.request_id)?))
        })?;
        let tree = self.0.tree(&name, deadline).await?;
        let command = Command::Quantize { tree, vectors };
        let receipt = self.0.write(command, id, deadline).await?;
        reply(v1::UpdateCollectionResponse {
            log_index: receipt.index,
        })
    }

    async fn drop(
        &self,
        request: Request<v1::DropCollectionRequest>,
    ) -> Result<Response<v1::DropCollectionResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (name, id) = decode(|| {
            let name = decode_collection("name", &request.name)?;
            Ok((name, decode_request_id(&request.request_id)?))
        })?;
        let receipt = self
            .0
            .write(Command::DropCollection { name }, id, deadline)
            .await?;
        reply(v1::DropCollectionResponse {
            log_index: receipt.index,
        })
    }

    async fn set_alias(
        &self,
        request: Request<v1::SetAliasRequest>,
    ) -> Result<Response<v1::SetAliasResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (alias, collection, id) = decode(|| {
            let alias = decode_collection("alias", &request.alias)?;
            let collection = decode_collection("collection", &request.collection)?;
            Ok((alias, collection, decode_request_id(&request.request_id)?))
        })?;
        let command = Command::SetAlias { alias, collection };
        let receipt = self.0.write(command, id, deadline).await?;
        reply(v1::SetAliasResponse {
            log_index: receipt.index,
        })
    }

    async fn drop_alias(
        &self,
        request: Request<v1::DropAliasRequest>,
    ) -> Result<Response<v1::DropAliasResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (alias, id) = decode(|| {
            let alias = decode_collection("alias", &request.alias)?;
            Ok((alias, decode_request_id(&request.request_id)?))
        })?;
        let receipt = self
            .0
            .write(Command::DropAlias { alias }, id, deadline)
            .await?;
        reply(v1::DropAliasResponse {
            log_index: receipt.index,
        })
    }

    async fn list_aliases(
        &self,
        request: Request<v1::ListAliasesRequest>,
    ) -> Result<Response<v1::ListAliasesResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let consistency = decode_consistency(request.consistency);
        let (aliases, log_index) = self.0.read(consistency, deadline, |r| r.aliases()).await?;
        let aliases = aliases.into_iter().map(|(alias, collection)| v1::Alias {
            alias: alias.into(),
            collection: collection.into(),
        });
        reply(v1::ListAliasesResponse {
            aliases: aliases.collect(),
            log_index,
        })
    }
}
