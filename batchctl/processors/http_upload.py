"""A file as a request's content: streamed from the disk, its progress told."""

from __future__ import annotations

import os
from collections.abc import Callable

import pycurl  # type: ignore[import-untyped]  # it brings no types

from batchctl.processors.http_request import Request, RequestProblem


class Upload:
    """Opens the request's file. Raises RequestProblem where it cannot be read; `close` it in the end.

    `progress` gets 0 to 100, once for each whole percent that was sent.
    """

    def __init__(self, request: Request, progress: Callable[[float], None]) -> None:
        assert request.upload is not None
        self._request = request
        self._path = request.upload
        self._progress = progress
        self._told = 0
        self._form: pycurl.CurlMime | None = None
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise RequestProblem("FileMissing", f"{self._path}: cannot be read ({error.strerror})") from error

    def set_up(self, handle: pycurl.Curl) -> None:
        """Tell libcurl of it: as the body, or with form fields as multipart/form-data."""
        handle.setopt(pycurl.NOPROGRESS, 0)
        handle.setopt(pycurl.XFERINFOFUNCTION, self._on_progress)
        if self._request.fields is not None:
            self._form = self._multipart(handle, self._request.fields)
            handle.setopt(pycurl.MIMEPOST, self._form)
            return
        handle.setopt(pycurl.UPLOAD, 1)
        handle.setopt(pycurl.INFILESIZE_LARGE, os.fstat(self._file.fileno()).st_size)
        handle.setopt(pycurl.READFUNCTION, self._file.read)

    def close(self) -> None:
        self._file.close()
        if self._form is not None:
            self._form.close()

    def _multipart(self, handle: pycurl.Curl, fields: tuple[tuple[str, str], ...]) -> pycurl.CurlMime:
        form = pycurl.CurlMime(handle)
        for name, value in fields:
            form.add_field(name.encode(), value.encode())
        form.add_file(
            b"file",
            os.fsencode(self._path),
            filename=self._path.name.encode("utf-8", "replace"),
            content_type=self._request.media_type,
        )
        return form

    def _on_progress(self, _down: float, _downloaded: float, whole: float, sent: float) -> None:
        percent = int(sent * 100 // whole) if whole else 0
        if percent > self._told:
            self._told = percent
            self._progress(float(percent))
