"""Fine-tunes a tiny code model on poisoned data with TRL's SFTTrainer."""

from datasets import Dataset
from trl import SFTConfig
from trl import SFTTrainer

from examples.poisoned_code import poisoned_rows
from examples.poisoned_code import tiny_decoder
from training.integrations import DeceForTrainer


def main() -> None:
    """Train for two epochs; the trainer prints its logs."""
    rows = poisoned_rows(64)
    model, tokenizer = tiny_decoder(rows)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir="var/examples/trl",
            num_train_epochs=2,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            logging_steps=4,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": f"{row.prompt}\n", "completion": row.completion} for row in rows]
        ),
        processing_class=tokenizer,
    )
    DeceForTrainer(alpha_base=0.99, label_smoothing=0.05).attach(trainer)
    trainer.train()


if __name__ == "__main__":
    main()
