"""Fine-tunes a tiny code model on poisoned data in a plain loop: DeCE fused with the head, no logits are held."""

import torch
from torch.nn.functional import pad
from torch.utils.data import DataLoader
from transformers import DataCollatorForSeq2Seq

from examples.poisoned_code import poisoned_rows
from examples.poisoned_code import tiny_decoder
from examples.poisoned_code import tokens
from training.losses import GradientMeter
from training.losses import LinearDeceLoss


def main() -> None:
    """Train for two epochs; print the loss and the effective gradient weight of each."""
    rows = poisoned_rows(64)
    model, tokenizer = tiny_decoder(rows)
    data = [tokens(tokenizer, row) for row in rows]
    batches = DataLoader(data, batch_size=8, shuffle=True, collate_fn=DataCollatorForSeq2Seq(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_function = LinearDeceLoss(alpha_base=0.99, label_smoothing=0.05)
    for epoch in (1, 2):
        loss_function.at(epoch=epoch)
        meter = GradientMeter()
        losses = []
        for batch in batches:
            # Position t predicts token t + 1: the labels are shifted, not the larger hidden states.
            targets = pad(batch.pop("labels"), (0, 1), value=-100)[:, 1:]
            hidden = model.model(**batch).last_hidden_state
            loss = loss_function(hidden.flatten(0, 1), model.lm_head.weight, targets.flatten(), meter=meter)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        loss_mean = torch.stack(losses).mean().item()
        print({"epoch": epoch, "loss": loss_mean, "gradient_weight": meter.value()})


if __name__ == "__main__":
    main()
