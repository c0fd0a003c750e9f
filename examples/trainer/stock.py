"""Fine-tunes a tiny code model on poisoned data with transformers' Trainer."""

from transformers import DataCollatorForSeq2Seq
from transformers import Trainer
from transformers import TrainingArguments

from examples.poisoned_code import poisoned_rows
from examples.poisoned_code import tiny_decoder
from examples.poisoned_code import tokens


def main() -> None:
    """Train for two epochs; the trainer prints its logs."""
    rows = poisoned_rows(64)
    model, tokenizer = tiny_decoder(rows)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir="var/examples/trainer",
            num_train_epochs=2,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            logging_steps=4,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=[tokens(tokenizer, row) for row in rows],
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    trainer.train()


if __name__ == "__main__":
    main()
