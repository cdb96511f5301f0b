"""What the user of an SDK sees of an error: each prints its own, for a service at the URL that is given."""

import json
import sys

import anthropic
import boto3
import openai
from botocore.config import Config

url = sys.argv[1]
messages = [{"role": "user", "content": "Good evening?"}]


def ask_openai():
    openai.OpenAI(base_url=url, api_key="k", max_retries=0).chat.completions.create(model="m", messages=messages)


def ask_anthropic():
    anthropic.Anthropic(base_url=url, api_key="k", max_retries=0).messages.create(model="m", max_tokens=9, messages=messages)


def ask_aws():
    config = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "stand", "aws_secret_access_key": "in", "region_name": "eu-west-1"}
    boto3.client("dynamodb", endpoint_url=url, config=config, **keys).list_tables()


shown = {}
for ask in (ask_openai, ask_anthropic, ask_aws):
    try:
        ask()
    except Exception as error:
        shown[ask.__name__] = str(error)
print(json.dumps(shown))
