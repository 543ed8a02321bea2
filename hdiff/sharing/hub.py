"""Names of models: local folders, or repositories of a hub, through huggingface_hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hdiff.errors import CheckpointError
from hdiff.plugins import install_command
from hdiff.shipped import is_builtin, model_folder

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def find_folder(
    name: str | Path, *, files: Sequence[str], revision: str | None = None, cache_dir: Path | None = None
) -> Path:
    """The folder of a model: itself, or downloaded from the hub.

    Args:
        name: A folder, `builtin:NAME`, or a repository of the hub such as `user/model`.
        files: File names or patterns that are downloaded; nothing else is.
        revision: Branch, tag or commit of the repository; None takes its main branch.
        cache_dir: Where downloads are kept; None takes the place of huggingface_hub.

    Returns:
        The folder.

    Raises:
        CheckpointError: If there is neither such a folder nor such a repository.
    """
    name = model_folder(name) if is_builtin(name) else name
    if Path(name).is_dir():
        if revision is not None:
            raise CheckpointError(f"{name} is a folder and has no revision '{revision}'; leave revision out")
        return Path(name)
    if ".." in str(name) or not _REPOSITORY.fullmatch(str(name)):
        raise CheckpointError(
            f"there is no folder {name}, and it is no name of a repository; give a folder that hdiff export "
            f"wrote, or user/model"
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(
            f"there is no folder {name}, and repositories need huggingface_hub; run:", install_command("hub")
        ) from error
    try:
        return Path(
            huggingface_hub.snapshot_download(
                str(name), revision=revision, cache_dir=cache_dir, allow_patterns=list(files)
            )
        )
    except Exception as error:  # which errors there are depends on the HTTP library of its version
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"there is no folder {name}, and the hub does not give a repository of that name ({reason}); "
            f"check the name and the network, or download the files and give their folder"
        ) from error


def push_folder(folder: Path, repository: str, *, files: Sequence[str], private: bool = False) -> str:
    """Uploads a shared folder, with the token that `hf auth login` keeps.

    Args:
        folder: The folder.
        repository: Repository of the hub, `user/model`; made if it is not there.
        files: File names that are uploaded; nothing else is.
        private: Whether a new repository is private.

    Returns:
        Address of the commit.

    Raises:
        CheckpointError: If the name is malformed or the hub refuses.
    """
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise CheckpointError(f"'{repository}' is no name of a repository; give user/model")
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError("uploading needs huggingface_hub; run:", install_command("hub")) from error
    api = huggingface_hub.HfApi(library_name="hdiff")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(files),
            commit_message="Upload an hdiff model",
        )
    except Exception as error:  # which errors there are depends on the HTTP library of its version
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the hub does not take {repository} ({reason}); {folder} is complete; check the network and log "
            f"in:",
            "hf auth login",
        ) from error
    return str(commit.commit_url)
