"""Every command line flag of tfface, one definition each, and which entry point takes which.

An entry point calls `define` before ``app.run``, and reads its flags with `values`. A run's resolved flags are saved
beside it as a `flagfile` that repeats it.
"""

import dataclasses
import glob
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags


@dataclasses.dataclass(frozen=True)
class _Flag:
    define: Callable[..., Any]
    default: Any
    help: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _text(default: str | None, text: str) -> _Flag:
    return _Flag(flags.DEFINE_string, default, text)


def _switch(default: bool, text: str) -> _Flag:
    return _Flag(flags.DEFINE_boolean, default, text)


def _integer(default: int | None, text: str, lower: int | None = 0, upper: int | None = None) -> _Flag:
    return _Flag(flags.DEFINE_integer, default, text, {"lower_bound": lower, "upper_bound": upper})


def _number(default: float, text: str, lower: float | None = 0.0, upper: float | None = None) -> _Flag:
    return _Flag(flags.DEFINE_float, default, text, {"lower_bound": lower, "upper_bound": upper})


def _choice(default: str, values: list[str], text: str) -> _Flag:
    return _Flag(flags.DEFINE_enum, default, text, {"enum_values": values})


def _names(default: list[str], text: str) -> _Flag:
    return _Flag(flags.DEFINE_list, default, text)


_FLAGS: dict[str, _Flag] = {
    # People and records.
    "people": _choice(
        "anthropometric", ["anthropometric", "ict", "capture", "model"], "Whom to photograph: see the README."
    ),
    "ict_facekit": _text(
        None, "Checkout of ICT-FaceKit (with FaceXModel/); the default is the variable ICT_FACEKIT_DIR."
    ),
    "download": _switch(False, "Fetch what the people need (ICT-FaceKit) into --ict_facekit first, with checksums."),
    "capture_dir": _text(None, "Capture folder with one folder a subject, for --people=capture."),
    "subjects": _integer(3000, "How many synthetic people.", 3),
    "views": _integer(5, "Photographs a person, for synthetic people.", 1),
    "expressions": _choice(
        "none",
        ["none", "sampled"],
        "What faces do in the photographs of --people=ict: nothing, or in each something else (smiles, talking mouths, "
        "blinks, brows, gaze), with its weights as truth.",
    ),
    "measures": _names([], "Means of --people=anthropometric to move, as name=deviations (head/anthropometry.py)."),
    "image_size": _integer(64, "Side of the crops in px.", 32, 1024),
    "modes": _integer(64, "Modes of the 3DMM (fewer if there are fewer training subjects).", 1),
    "only_splits": _names([], "Which splits to photograph; all by default. The others stay empty."),
    "face_model": _text(
        None,
        "3DMM (.h5): of other records, instead of building one; of a served model; whom --people=model draws from.",
    ),
    "workers": _integer(0, "Worker processes, or threads that read photographs; 0 means one a core."),
    "records": _text(None, "Folder of the records that tfface.prepare wrote."),
    "output": _text(None, "Folder to write; what was begun there is gone on with."),
    "seed": _integer(0, "Seed of everything random."),
    # Other people's 3DMMs.
    "in": _text(
        None, "A 3DMM: a file of statismo (Basel 2017, 2019), Basel 2009, FLAME or eos; an ICT-FaceKit folder."
    ),
    "format": _choice("auto", ["auto", "ict", "bfm2009", "statismo", "flame", "eos"], "Format of the 3DMM."),
    "landmarks": _text(None, "Landmarks that its file lacks: .json {name: vertex}, or FLAME's .npy, .npz or .pkl."),
    "cut_mm": _number(0.0, "Keep only what lies that near to the tip of the nose; 0 keeps everything."),
    "export": _text(None, "Write it for another program too: .npz (as FLAME), .bin (eos), .mat (as Basel 2009)."),
    # Raw scans.
    "scans": _text(None, "Folder of raw scans: SUBJECT/scan.ply (.obj, .glb, .stl), or SUBJECT.ply."),
    "unit": _choice("mm", ["mm", "cm", "m"], "Unit of the scans."),
    "template": _text(
        None,
        "What the scans are registered to: ict, anthropometric, a 3DMM (.h5, a prior of faces as well), or a mesh in "
        "mm with its landmarks' vertices in a .json file of the same name.",
    ),
    "detector": _switch(False, "Let a face detector (extra scans) propose where the face is, beside the geometry."),
    "mirrored": _switch(False, "Build the 3DMM from every face and its mirror image."),
    "complete": _switch(False, "Put registered.ply and its landmarks, or why there is none, into the scans' folders."),
    "beam": _names([], "Register by an Apache Beam pipeline (extra beam) with these arguments, without dashes."),
    "scan_format": _choice("ply", ["ply", "obj", "glb", "stl"], "Format of simulated scans."),
    # The model.
    "model_kind": _choice("single_view", ["single_view", "multi_view", "shape_only"], "Which network."),
    "num_views": _integer(3, "Views of a multi view model.", 1, 64),
    "merge": _choice("concat", ["add", "concat", "mean", "max", "attention"], "Merge block of a multi view model."),
    "hidden_units": _integer(256, "Hidden units of each MLP.", 1),
    "dropout": _number(0.0, "Share of its standardised features that a training step hides from each MLP.", 0.0, 0.99),
    "encoder_weights": _text("hed", "imagenet, hed, none, or the path of an HDF5 file."),
    "encoder_dtype": _choice(
        "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "Precision of the convolutions; all else is float32."
    ),
    "encoder_output": _choice(
        "block5_pool",
        ["block5_pool", "block4_pool", "block3_pool"],
        "Layer of VGG-16 that the MLPs look at; small crops leave too few cells in the last.",
    ),
    "initialize_from": _text(None, "A trained model (.keras) whose weights to start from."),
    "average_pooling": _switch(
        True,
        "Average the features over the picture in a shape only model; small crops lose what says where things are.",
    ),
    "head_start": _choice(
        "zeros",
        ["zeros", "ridge"],
        "How the MLPs start: at the mean face, frontal and centred, or at the ridge regression of what they are to say "
        "on the cached features of a first stage of heads.",
    ),
    # Training.
    "strategy": _choice("auto", ["auto", "one", "mirrored", "multi_worker"], "tf.distribute strategy."),
    "batch_size": _integer(32, "Subjects a step, over all replicas.", 1),
    "stages": _names(
        ["all:20000"],
        "What to train, stage by stage, as part:steps[:learning_rate]. Parts: heads, block2 .. block5 (that block and "
        "everything above it), all. What lies below a part is frozen, computed once and cached.",
    ),
    "learning_rate": _number(1e-4, "Adam's learning rate, for stages that name none."),
    "weight_decay": _number(
        0.0, "Decoupled decay of the weights (AdamW), a step and unit of the learning rate; 0 is plain Adam."
    ),
    "virtual_views": _integer(
        0, "Random virtual cameras beside each true one in the reprojection loss (arXiv 1908.09001).", 0, 64
    ),
    "schedule": _choice("constant", ["constant", "cosine"], "Learning rate over a stage, behind the warm-up."),
    "warmup_steps": _integer(0, "Steps over which a stage's learning rate rises from 0."),
    "max_unreadable": _number(
        0.01, "Share of a split's photographs that may be unreadable; they are told and left out.", 0.0, 1.0
    ),
    "mirror": _switch(True, "Train on every scene and on its mirror image."),
    "augment": _choice("none", ["none", "mild", "strong"], "Variation of the crops while training on images."),
    "cached_variants": _integer(1, "Augmented variants of each crop in a cache of frozen features.", 1, 64),
    "validate_every": _integer(500, "Steps between validations.", 1),
    "patience": _integer(0, "Stop a stage after so many validations without a better one; 0 never does."),
    "checkpoint_every": _integer(500, "Steps between checkpoints.", 1),
    "best_by": _choice(
        "similarity_mm",
        ["similarity_mm", "rigid_mm", "reprojection_px", "loss"],
        "Measure on the validation split that chooses the best checkpoint.",
    ),
    "cache_dir": _text(None, "Folder for cached features; the default is OUTPUT/cache, removed when the run ends."),
    "overfit_one_batch": _switch(False, "Train on the first batch over and over: a model that learns must fit it."),
    "deterministic": _switch(False, "Bit for bit the same weights from the same seed on the same machine; slower."),
    "pictures": _integer(4, "Validation subjects drawn for TensorBoard at each validation."),
    # Evaluation.
    "models": _names([], "Models to evaluate, as name=path (.keras)."),
    "split": _choice("test", ["train", "validation", "test"], "Split to evaluate on."),
    "examples": _integer(4, "Subjects in the picture.", 1, 32),
    # The study.
    "averaged": _names(
        ["MV Shape-Concat"], "Multi view models that have a row for the mean of five predictions from different views."
    ),
    "landmark_fits": _names(["map"], "Fits of the 3DMM to true landmarks beside the models: map, eos (extra eos)."),
    "landmark_noise": _names(["0", "1", "2"], "Noise of these landmarks in px of the crop, each a row."),
    "many_views": _text(
        None, "Records of the same people with more photographs each, for the error against the number of views."
    ),
    "limit": _integer(0, "Only so many subjects of the split; 0 means all."),
    # Evaluation of meshes.
    "predicted_meshes": _text(None, "Folder of predicted meshes and their landmarks."),
    "true_meshes": _text(None, "Folder of true meshes and their landmarks."),
    "mesh_layout": _choice("3dfaw", ["3dfaw", "plain"], "Names of the files: tfface/evaluation/mesh_folders.py."),
    "mesh_ids": _text(None, "Text file with the id of a pair on each line; by default every true mesh."),
    "mesh_measures": _names(
        ["armse", "scan_to_mesh", "elastic", "vertex"],
        "What to measure; vertex wherever prediction and truth have the same triangles.",
    ),
    # Export.
    "model": _text(None, "A trained model (.keras); of tfface.reconstruct also https://...#sha256=..."),
    "out": _text(None, "Where to write: an export's base path, which holds its versions; an imported 3DMM (.h5)."),
    "precision": _choice("float32", ["float32", "bfloat16"], "What the exported encoder computes in."),
    "version": _integer(0, "Number of the exported version; 0 is the one behind the newest."),
    "warmup_batch": _integer(32, "Examples in the larger warm-up request; the server's largest batch.", 1, 1000),
    "litert": _text("", "Where to write a LiteRT (TFLite) file of a single view model too."),
    # Shrinking.
    "prune": _number(1e-5, "Share of the hidden units' effect that may be left out with units; 0 keeps all.", 0.0, 0.5),
    # Reconstruction.
    "images": _names([], "Photographs, videos, patterns or folders; a folder of folders holds a person in each."),
    "each": _switch(False, "Every photograph is another person."),
    "single_view_model": _text("", "Single view model beside a multi view one: estimates yaws, helps out if alone."),
    "server": _text("", "host:port of a server's gRPC to ask instead of loading a model; name its --face_model too."),
    "face": _text("largest", "Which face: largest, all, or its number from 0, from left to right."),
    "fov": _number(0.0, "Field of view along the diagonal in degrees; 0 asks the photograph.", 0.0, 180.0),
    "intrinsics": _text("", "JSON file with K: 3x3 for all photographs, or views.json of a capture folder."),
    "average": _integer(1, "Predictions from different choices of photographs to average; the paper's is 5.", 1),
    "frames": _integer(30, "Frames of a video to look at, at most.", 1),
    "max_pixels": _integer(1 << 27, "Pixels that a photograph may have; its header is asked before it is decoded.", 1),
    "outputs": _names(
        ["mesh", "overlays", "turntable", "page"],
        "What to write beside reconstruction.json: mesh (GLB, OBJ, PLY), overlays, turntable, maps (depth, normals, "
        "mask), page (HTML); nothing else if empty.",
    ),
    "texture_size": _integer(1024, "Texels along each side of the texture.", 16, 8192),
    # Serving.
    "model_base_path": _text("", "Folder of the versions of an exported model."),
    "model_name": _text("default", "Name of the served model."),
    "model_config_file": _text("", "Several models instead: TensorFlow Serving's ModelServerConfig, as text."),
    "host": _text("127.0.0.1", "Address to listen on; 0.0.0.0 is reachable from other machines."),
    "port": _integer(8500, "Port of gRPC; 0 takes a free one.", 0, 65535),
    "rest_port": _integer(8501, "Port of REST and metrics; 0 takes a free one, -1 opens none.", -1, 65535),
    "file_system_poll_wait_seconds": _number(1.0, "Seconds between looks for new versions.", 0.01),
    "max_batch_size": _integer(32, "Examples that run together.", 1),
    "batch_timeout_micros": _integer(0, "Microseconds that an idle model waits for a batch to fill."),
    "max_enqueued_batches": _integer(8, "Full batches that may wait; more is refused.", 1),
    "num_batch_threads": _integer(1, "Batches that run at a time.", 1),
    "max_pending": _integer(256, "Predictions under way at a time; more are refused.", 1),
    "rest_api_timeout_in_ms": _integer(30000, "Deadline of a REST prediction in ms.", 1),
    "tensorflow_threads": _integer(0, "Threads of TensorFlow; 0 leaves it to TensorFlow."),
    "ssl_server_key": _text("", "PEM key; with --ssl_server_cert, gRPC is served over TLS."),
    "ssl_server_cert": _text("", "PEM certificate chain of the server."),
    "ssl_client_ca": _text("", "PEM certificates that a client's has to be signed by; clients then need one."),
}

ENTRIES: dict[str, tuple[str, ...]] = {
    entry: tuple(names.split())
    for entry, names in {
        "prepare": """
            people ict_facekit download capture_dir subjects measures expressions views image_size modes only_splits
            face_model workers output seed
        """,
        "train": """
            records output seed model_kind num_views merge hidden_units dropout encoder_weights encoder_dtype
            encoder_output initialize_from average_pooling head_start strategy batch_size stages learning_rate
            weight_decay virtual_views schedule warmup_steps max_unreadable mirror augment cached_variants
            validate_every patience checkpoint_every best_by cache_dir overfit_one_batch deterministic pictures
        """,
        "evaluate": "records models output split examples batch_size seed",
        "import_model": "in format landmarks cut_mm out export",
        "simulate_scans": "people ict_facekit subjects views image_size unit scan_format workers output seed",
        "build_model": "scans unit template ict_facekit detector beam modes mirrored complete workers output seed",
        "study": """
            records models output split averaged landmark_fits landmark_noise many_views limit examples batch_size
            workers seed
        """,
        "evaluate_meshes": "predicted_meshes true_meshes output mesh_layout mesh_ids mesh_measures workers",
        "reconstruct": """
            images out model server model_name face_model single_view_model each face fov intrinsics average frames
            max_pixels batch_size workers outputs texture_size
        """,
        "shrink": "model out prune",
        "export": "model out precision version warmup_batch litert",
        "serve": """
            model_base_path model_name model_config_file host port rest_port file_system_poll_wait_seconds
            max_batch_size batch_timeout_micros max_enqueued_batches num_batch_threads max_pending
            rest_api_timeout_in_ms tensorflow_threads ssl_server_key ssl_server_cert ssl_client_ca
        """,
    }.items()
}
"""Which flags each entry point takes."""

_REQUIRED = {
    "prepare": ("output",),
    "train": ("records", "output"),
    "evaluate": ("records", "output"),
    "import_model": ("in", "out"),
    "simulate_scans": ("output",),
    "build_model": ("scans", "template", "output"),
    "study": ("records", "output"),
    "evaluate_meshes": ("predicted_meshes", "true_meshes", "output"),
    "reconstruct": ("out",),
    "shrink": ("model", "out"),
    "export": ("model", "out"),
    "serve": (),
}


_SIGNS_OF_A_GPU = ("/dev/nvidia*", "/dev/dxg", "/proc/driver/nvidia")


def _quiet_tensorflow() -> None:
    """Where there is no GPU, keeps TensorFlow from telling that CUDA failed, which reads like a failure and is none.

    Where there is one, all that TensorFlow says of it is shown. What the user has set stays.
    """
    if not any(glob.glob(sign) for sign in _SIGNS_OF_A_GPU):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def define(entry: str) -> None:
    """Defines the flags of an entry point (a key of `ENTRIES`), before TensorFlow is imported."""
    _quiet_tensorflow()
    for name in ENTRIES[entry]:
        flag = _FLAGS[name]
        flag.define(name=name, default=flag.default, help=flag.help, **flag.options)
        # --help shows what belongs to the program itself, not to a module that it imports.
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    flags.mark_flags_as_required(list(_REQUIRED[entry]))


def values(entry: str) -> dict[str, Any]:
    """The resolved flags of an entry point, by name."""
    return {name: flags.FLAGS[name].value for name in ENTRIES[entry]}


def flagfile(entry: str) -> str:
    """The resolved flags as the text of a flagfile that repeats the run."""
    given = (flags.FLAGS[name] for name in ENTRIES[entry])
    lines = [flag.serialize() for flag in given if flag.value is not None]
    return "\n".join([f"# python -m tfface.{entry} --flagfile=<this file>", *lines]) + "\n"
