"""A training step and a prediction against torchvision's RetinaNet with the same encoder, levels, anchors and batch."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from rsna_det.boxes.anchors import RATIOS, SCALES, pyramid_anchors
from rsna_det.boxes.decoding import batch_detections, candidates
from rsna_det.boxes.matching import match_anchors
from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.structures import DenseDeltas, HeadOutputs
from rsna_det.training.losses import MultiTaskLoss, image_losses

IMAGE_SIZE = 512
VARIANTS = {"P2-P7, width 256": (range(2, 8), 256), "without_p2": (range(3, 8), 256), "small": (range(3, 8), 128)}
BOXES = [[[60.0, 200, 170, 380], [300, 180, 420, 400]], []]
"""Label boxes of the batch's two images in network pixels, as large as the challenge's; one image has none."""


def our_step(variant: str) -> Callable[[], object]:
    """A function that takes one training step of this package's detector, without the task that the peer lacks."""
    return _step(variant, global_head=False)


def our_dense_step(variant: str) -> Callable[[], object]:
    """The same with the regression head computed for all anchors."""
    return _step(variant, global_head=False, dense=True)


def our_multi_task_step(variant: str) -> Callable[[], object]:
    """A function that takes one training step of this package's detector with its global head."""
    return _step(variant, global_head=True)


def _step(variant: str, *, global_head: bool, dense: bool = False) -> Callable[[], object]:
    levels, _ = VARIANTS[variant]
    model = _ours(variant, global_head=global_head).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    weigh = MultiTaskLoss(box_class=1.0, box_regression=1.0, global_class=0.1)
    images, boxes, mask = _images(), torch.zeros(2, 2, 4), torch.zeros(2, 2, dtype=torch.bool)
    boxes[0], mask[0] = torch.tensor(BOXES[0]), True

    def step() -> None:
        optimizer.zero_grad()
        outputs = _everywhere(model(images)) if dense else model(images)
        anchors = pyramid_anchors(image_size=IMAGE_SIZE, feature_sizes=outputs.feature_sizes, levels=levels)
        targets = match_anchors(anchors=anchors, boxes=boxes, box_mask=mask)
        losses = image_losses(
            outputs=outputs, targets=targets, anchors=anchors, boxes=boxes, categories=torch.tensor([2, 1])
        )
        torch.autograd.backward(weigh(losses))
        optimizer.step()

    return step


def their_step(variant: str) -> Callable[[], object]:
    """A function that takes one training step of torchvision's detector."""
    model = _theirs(variant).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    images = list(_images().float().expand(-1, 3, -1, -1) / 255)
    targets = [
        {"boxes": torch.tensor(b).reshape(-1, 4), "labels": torch.zeros(len(b), dtype=torch.long)} for b in BOXES
    ]

    def step() -> None:
        optimizer.zero_grad()
        losses = model(images, targets)
        torch.autograd.backward(sum(losses.values()))
        optimizer.step()

    return step


def our_prediction(variant: str) -> Callable[[], object]:
    """A function that predicts the boxes of the batch with this package's detector."""
    return _prediction(variant, dense=False)


def our_dense_prediction(variant: str) -> Callable[[], object]:
    """The same with the regression head computed for all anchors."""
    return _prediction(variant, dense=True)


def _prediction(variant: str, *, dense: bool) -> Callable[[], object]:
    levels, _ = VARIANTS[variant]
    model = _scattered(_ours(variant, global_head=True).eval(), "box_class_head.last")
    images, sizes = _images(), torch.full((2, 2), IMAGE_SIZE)

    @torch.inference_mode()
    def predict() -> object:
        outputs = _everywhere(model(images)) if dense else model(images)
        anchors = pyramid_anchors(image_size=IMAGE_SIZE, feature_sizes=outputs.feature_sizes, levels=levels)
        found = candidates(
            outputs=outputs,
            anchors=anchors,
            image_size=IMAGE_SIZE,
            source_sizes=sizes,
            score_floor=0.025,
            max_candidates=300,
        )
        return batch_detections(found, nms_iou=0.05, relative_cut=0.5, cut=0.15)

    return predict


def their_prediction(variant: str) -> Callable[[], object]:
    """A function that predicts the boxes of the batch with torchvision's detector."""
    model = _scattered(_theirs(variant).eval(), "head.classification_head.cls_logits")
    images = list(_images().float().expand(-1, 3, -1, -1) / 255)
    return torch.inference_mode()(lambda: model(images))


def _everywhere(outputs: HeadOutputs) -> HeadOutputs:
    return replace(outputs, box_deltas=DenseDeltas(values=outputs.box_deltas.dense()))


def _ours(variant: str, *, global_head: bool) -> MultiTaskRetinaNet:
    levels, width = VARIANTS[variant]
    return MultiTaskRetinaNet(
        encoder=_encoder(),
        width=width,
        levels=list(levels),
        dropout_global=0.75,
        dropout_box=0.0,
        global_head=global_head,
    )


def _theirs(variant: str) -> RetinaNet:
    levels, width = VARIANTS[variant]
    sizes = tuple(tuple(2 ** (level + 2) * scale for scale in SCALES) for level in levels)
    return RetinaNet(
        _Backbone(list(levels), width),
        num_classes=1,
        min_size=IMAGE_SIZE,
        max_size=IMAGE_SIZE,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
        score_thresh=0.025,
        nms_thresh=0.05,
        detections_per_img=300,
        topk_candidates=300,
    )


class _Backbone(nn.Module):
    """The same encoder with torchvision's own pyramid."""

    def __init__(self, levels: list[int], width: int) -> None:
        super().__init__()
        self.encoder, self.out_channels, self.finest = _encoder(), width, levels[0]
        channels = list(self.encoder.channels)[self.finest - 2 :]
        self.pyramid = FeaturePyramidNetwork(channels, width, LastLevelP6P7(channels[-1], width))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.encoder.backbone(images)[-4:][self.finest - 2 :]
        maps: dict[str, Tensor] = self.pyramid(OrderedDict((str(i), f) for i, f in enumerate(features)))
        return maps


def _encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(name="resnet50", pretrained=False, weights=None, normalise=True, freeze_statistics=True)


def _images() -> Tensor:
    return torch.randint(0, 256, (2, 1, IMAGE_SIZE, IMAGE_SIZE), generator=torch.Generator().manual_seed(0)).byte()


def _scattered(model: nn.Module, name: str) -> nn.Module:
    """Let some anchors score above the floor, as those of a trained detector do: at the prior of 0.01 none would."""
    nn.init.normal_(model.get_submodule(name).get_parameter("weight"), std=0.01)
    return model
