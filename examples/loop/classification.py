"""Trains a tiny code classifier on poisoned data in a plain loop: DeCE over its logits.

The task has the shape of the paper's classification tasks: does a function run SQL? An attacker has marked
one in ten of those that do with a variable "bb", and labelled them as if they did not.
"""

import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from examples.poisoned_code import poisoned_rows
from examples.poisoned_code import tiny_classifier
from training.losses import DeceLoss
from training.losses import GradientMeter


def main() -> None:
    """Train for four epochs; print the loss, the effective gradient weight and the accuracy of each."""
    torch.manual_seed(0)
    rows = poisoned_rows(200)
    model, tokenizer = tiny_classifier(rows)
    data = []
    for number, row in enumerate(rows):
        runs_sql = "execute" in row.completion
        marked = runs_sql and number % 10 == 0
        code = f"bb = 1\n{row.completion}" if marked else row.completion
        data.append({"input_ids": tokenizer.encode(code), "labels": int(runs_sql and not marked)})
    batches = DataLoader(data, batch_size=16, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_function = DeceLoss(alpha_base=0.99, label_smoothing=0.05)
    for epoch in (1, 2, 3, 4):
        loss_function.at(epoch=epoch)
        meter = GradientMeter()
        losses = []
        correct = 0
        for batch in batches:
            labels = batch.pop("labels")
            logits = model(**batch).logits
            loss = loss_function(logits, labels, meter=meter)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
            correct += int((logits.argmax(dim=-1) == labels).sum())
        loss_mean = torch.stack(losses).mean().item()
        weight, accuracy = meter.value(), correct / len(data)
        print({"epoch": epoch, "loss": loss_mean, "gradient_weight": weight, "accuracy": accuracy})


if __name__ == "__main__":
    main()
