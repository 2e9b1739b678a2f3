"""Prompts: versions of texts in the registry."""

import mlflow

import describe


def versions(session):
    made = mlflow.genai.register_prompt(name="greet", template="Hello {{name}}", commit_message="first", tags={"lang": "en"})
    session.note("made", [made.name, made.version, made.template, describe.sorted_map(made.tags), made.commit_message])
    mlflow.genai.register_prompt(name="greet", template=[{"role": "user", "content": "Hi {{name}}"}], tags={"lang": "en", "n": "2"})
    second = mlflow.genai.load_prompt("greet", version=2)
    session.note("second", [second.version, second.template])
    session.note("formatted", mlflow.genai.load_prompt("prompts:/greet/1").format(name="Ada"))
    mlflow.genai.set_prompt_alias("greet", "live", 1)
    session.note("by alias", mlflow.genai.load_prompt("prompts:/greet@live").version)
    session.note("latest", mlflow.genai.load_prompt("prompts:/greet@latest").version)
    mlflow.genai.delete_prompt_alias("greet", "live")
    mlflow.genai.register_prompt(name="bye", template="Bye")
    session.note("found", sorted(prompt.name for prompt in mlflow.genai.search_prompts()))
    session.note("filtered", [prompt.name for prompt in mlflow.genai.search_prompts("name = 'bye'")])
    session.note("no models", [model.name for model in session.client.search_registered_models()])
    session.note("none", mlflow.genai.load_prompt("nobody", version=1, allow_missing=True))
    session.refused("no alias", mlflow.genai.load_prompt, "prompts:/greet@live")
    session.client.set_prompt_version_tag("greet", 1, "checked", "yes")
    session.note("tagged", describe.sorted_map(mlflow.genai.load_prompt("greet", version=1).tags))
    session.client.delete_prompt_version("greet", "1")
    session.client.delete_prompt_version("greet", "2")
    session.client.delete_prompt("greet")
    session.note("left", sorted(prompt.name for prompt in mlflow.genai.search_prompts()))
